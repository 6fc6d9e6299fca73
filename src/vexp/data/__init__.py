"""The data of a run, from annotation to batch. Pixels are uint8 (``vexp.data.pixel_type``)."""
