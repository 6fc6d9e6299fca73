"""Contact sheets of what a net gets: collected from the real data path, drawn as one picture each."""
