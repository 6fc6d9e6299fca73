"""The data of a run, from annotation to batch."""
