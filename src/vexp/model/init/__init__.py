"""Weight initialization by rule: mmcv's ``init_cfg``. Does not import torch."""

from vexp.model.init.apply import check_init, initialize

__all__ = ["check_init", "initialize"]
