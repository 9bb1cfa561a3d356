"""Tasks: collate, losses, decode, metric, draw.  Nothing else knows a task."""
