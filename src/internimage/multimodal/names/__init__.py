"""Names of tensors in files of others, one table an architecture."""
