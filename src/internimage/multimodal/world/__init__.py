"""A drawn world of shapes, signs and lights with words, for tests and first steps; it stands for no benchmark."""
