"""The commands of ``vexp``, one module each."""
