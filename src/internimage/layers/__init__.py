"""Parts that several networks share: feature pyramids, boxes, proposals, heads on regions."""
