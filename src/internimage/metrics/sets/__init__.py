"""Rules by which the authors of benchmark sets measure detectors."""
