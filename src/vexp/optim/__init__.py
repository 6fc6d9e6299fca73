"""Optimizers, parameter groups, learning-rate policies, gradient clipping and weight averaging."""
