"""Models behind HTTP: a front that queues, and worker processes that predict."""
