"""Data: labelled files, reproducible sampling, augmentation, checking."""
