"""What turns pictures, and words, into vectors."""
