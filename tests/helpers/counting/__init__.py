"""A task from outside the package, as an example and for tests: how many bright dots an image shows."""
