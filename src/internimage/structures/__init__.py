"""What models take and give."""
