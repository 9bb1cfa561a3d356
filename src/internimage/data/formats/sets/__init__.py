"""Benchmark sets as they are downloaded, one file a set."""
