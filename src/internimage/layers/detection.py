"""What detectors of regions have in common: which boxes are reported, and their masks."""

from __future__ import annotations
