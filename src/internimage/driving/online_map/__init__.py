"""The task that draws a map of lines around a vehicle."""
