"""From a config file of mmaction2 (0.x and 1.x) to an experiment of vexp, without running the file.

evaluate, source   the file and its bases, read by their syntax alone -> a tree whose leaves know file and line
convert            the tree -> a ``ConversionResult``: chosen options, values, and what became of every leaf
models, pipelines, datasets, optimizers, schedules, runtime
                   the tables: which class, argument or key of mmaction2 is what here
traps              what a config says and does not do, or does and does not say
report             the experiment's YAML, and the report line by line
"""
