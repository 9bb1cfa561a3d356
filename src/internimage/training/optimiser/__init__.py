"""The optimiser: rate and weight decay of each parameter, rate of each update, the average of the weights."""
