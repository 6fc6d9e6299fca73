"""Explanations of config keys: where a value was set, what it does in a run, and its former names."""
