"""The task that finds lanes, what they go on in, and the signs and lights that govern them."""
