"""Is this machine ready for vexp? Checks that survive whatever is broken: nothing here is imported before it is asked.

Every check is a function without arguments that gives findings; those that import compiled packages run in a process
of their own (``vexp.tools.doctor.subprocess_check``), so that a crash or a hang costs one line of the report.
"""
