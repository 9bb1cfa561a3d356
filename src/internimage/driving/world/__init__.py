"""A drawn world of roads, for tests and first steps; it stands for no benchmark."""
