"""The task that finds what fills the space around a vehicle."""
