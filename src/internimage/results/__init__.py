"""Results: what a prediction is, as typed data that can show itself."""
