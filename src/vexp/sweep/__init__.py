"""Sweeps: the jobs of a multirun, as a grid or chosen by Optuna."""
