"""Errors, config fields, logging, and reading and writing of files."""
