"""Networks that read pictures and words as one sequence: embeddings, who sees whom, layers, experts, likelihood."""
