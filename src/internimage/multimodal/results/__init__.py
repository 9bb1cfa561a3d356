"""What is said of pictures, as typed data.  No torch."""
