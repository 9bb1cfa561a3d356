"""Models and tools of others, around ours."""
