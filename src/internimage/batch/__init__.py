"""A folder or bucket of pictures through a model, on this machine or on a cluster, to tables that can be resumed."""
