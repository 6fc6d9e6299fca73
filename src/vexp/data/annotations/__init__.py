"""Lists of videos and their labels, in packed arrays."""
