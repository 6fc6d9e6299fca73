"""Loading of samples in worker processes, and their order."""
