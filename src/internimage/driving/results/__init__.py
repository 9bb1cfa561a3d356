"""What a prediction in space is, and files of it."""
