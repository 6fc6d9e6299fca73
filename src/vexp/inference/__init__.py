"""Evaluation, prediction and export with trained checkpoints."""
