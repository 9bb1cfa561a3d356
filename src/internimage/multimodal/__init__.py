"""Pictures and words together: one representation, search, captions, questions."""
