"""Checkpoints: reading tensors safely (files), their names (layouts), model folders (folder), the hub (hub)."""

from internimage.checkpoints.files import open_checkpoint
from internimage.checkpoints.folder import read_description
from internimage.checkpoints.hub import HubFile

__all__ = ["HubFile", "open_checkpoint", "read_description"]
