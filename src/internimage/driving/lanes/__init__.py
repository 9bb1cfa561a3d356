"""Lanes as curves, and what belongs to them."""
