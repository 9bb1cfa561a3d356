"""Frames in a row, as every network of this wing takes them: read, prepared, learnt from and remembered."""
