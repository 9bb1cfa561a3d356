"""Words: which of them a model knows, towers that read them, and captions that are written."""
