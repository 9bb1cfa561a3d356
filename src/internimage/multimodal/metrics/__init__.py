"""How good captions, retrieval and answers are.  No torch."""
