"""Sources of samples, and the options of the ``data`` group."""
