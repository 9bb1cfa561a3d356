"""The task of models that do several tasks with one set of weights."""
