"""Models: one architecture, one file.  Raw tensors in, raw tensors out."""
