"""What a run records: logger backends, averages, the text log and curves."""
