"""Parts of detectors that look at regions of interest."""
