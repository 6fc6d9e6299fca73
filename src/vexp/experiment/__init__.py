"""From a config to the objects of a run, its schedule and its folder."""
