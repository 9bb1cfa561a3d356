"""Writing data in formats of others: one file a format, each with ``write(parts, target)``."""
