"""Devices, processes, precision, seeds and signals."""
