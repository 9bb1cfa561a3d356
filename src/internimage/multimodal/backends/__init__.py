"""What captions pictures and answers questions about them: models of ours, and others behind the same protocol."""
