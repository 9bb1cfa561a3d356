"""Checkpoints: reading tensors safely (files), their names (layouts, names), model folders (folder), the hub (hub)."""
