"""Metrics, view reduction, the best score and the report of an evaluation."""
