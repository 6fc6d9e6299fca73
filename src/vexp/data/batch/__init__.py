"""Batches of samples, and what is done to them on the device."""
