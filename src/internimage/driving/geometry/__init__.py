"""Frames of reference, poses, cameras and boxes in space, in float64 and without torch."""
