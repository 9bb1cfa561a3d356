"""Boxes in space from one camera's picture alone, cell by cell (BEVFormer v2's second head)."""
