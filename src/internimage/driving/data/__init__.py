"""Readers of driving data, and what is wrong with them."""
