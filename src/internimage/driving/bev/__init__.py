"""Networks that look from above: attention between a grid on the ground and several cameras."""
