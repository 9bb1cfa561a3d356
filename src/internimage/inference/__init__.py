"""Inference: from pictures to results and features."""
