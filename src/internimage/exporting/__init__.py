"""Models that leave PyTorch: written, checked, run.  Each name is loaded where it is used."""
