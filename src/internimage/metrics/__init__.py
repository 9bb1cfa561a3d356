"""Metrics: numbers about predictions, from running counts."""
