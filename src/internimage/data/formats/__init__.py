"""Formats of data: one file a format."""
