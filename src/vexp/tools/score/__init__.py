"""``vexp score``: metrics of result files that any program wrote, for temporal localization and boxes in key frames."""
