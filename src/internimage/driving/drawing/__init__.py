"""Boxes drawn into cameras and from above."""
