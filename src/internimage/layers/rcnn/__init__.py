"""Parts of two-stage detectors: proposals, RoI heads, assigners, losses (Ren et al., 2015; He et al., 2017)."""
