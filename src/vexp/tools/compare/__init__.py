"""``vexp compare``: tables, statistics and curves of several runs."""
