"""``vexp show``: images of what a model receives, collected from the data pipeline of a run."""
