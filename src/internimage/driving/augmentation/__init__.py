"""Frames shown in other ways: a part of each picture, mirrored pictures, the ground turned (BEVFormer v2)."""
