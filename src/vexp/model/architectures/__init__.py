"""Architectures: functions that build randomly initialized models, which import torch."""
