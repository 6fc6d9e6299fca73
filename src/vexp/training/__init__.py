"""The training loop, its state, and what a run records."""
