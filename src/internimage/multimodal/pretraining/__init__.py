"""Backbones that learn from labels, texts and the pictures themselves, before any task."""
