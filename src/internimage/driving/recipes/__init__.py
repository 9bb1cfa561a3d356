"""The models of this wing by name, a file a task."""
