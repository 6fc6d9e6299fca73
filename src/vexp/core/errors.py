"""Faults that a user can cause and mend, worded for that user."""


class UserError(ValueError):
    """Names what is wrong, where it came from and what to do.

    The doors (``python -m vexp.train`` ...) print it without a traceback and exit with status 2; from Python it is an
    ordinary ``ValueError``. A fault of vexp itself must never be raised as one.
    """


class MissingInputError(UserError):
    """A list, file or folder that a config names is not there."""
