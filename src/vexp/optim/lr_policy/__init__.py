"""The ``lr_policy`` group: the learning rate during training."""

from vexp.optim.lr_policy.base import LrPolicy, WarmedPolicy
from vexp.optim.lr_policy.chain import Chain, Phase
from vexp.optim.lr_policy.cyclic import Cyclic, OneCycle
from vexp.optim.lr_policy.policies import Cosine, CosineRestart, Exp, Fixed, FlatCosine, Inv, Linear, Poly, Step

__all__ = [
    "Chain", "Cosine", "CosineRestart", "Cyclic", "Exp", "Fixed", "FlatCosine", "Inv", "Linear", "LrPolicy", "OneCycle",
    "Phase", "Poly", "Step", "WarmedPolicy",
]  # fmt: skip
