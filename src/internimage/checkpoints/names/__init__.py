"""Names of the tensors in released files: one table an architecture."""
