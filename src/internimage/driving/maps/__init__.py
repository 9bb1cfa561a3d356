"""Lines on the ground from features of a grid: fixed points at once, or boxes first and then vertex by vertex."""
