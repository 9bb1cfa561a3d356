"""Scores of driving benchmarks."""
