"""``vexp bench``: the speed of data loading and of training on this machine, what limits it, and what would help."""
