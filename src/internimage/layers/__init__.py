"""Parts that several networks share: boxes, convolutions, feature pyramids, attention, R-CNN heads, queries."""
