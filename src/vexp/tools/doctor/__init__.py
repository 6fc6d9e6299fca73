"""``vexp doctor``: checks of the installation and the machine that keep working when a package is broken.

Every check is a function that returns ``CheckResult``s and imports what it needs itself. Checks of compiled packages
run in a subprocess (``vexp.tools.doctor.subprocess_check``), so that a crash or a hang costs one line of the report.
"""
