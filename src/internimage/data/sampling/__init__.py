"""Which images an epoch takes, and which of them a process takes when."""
