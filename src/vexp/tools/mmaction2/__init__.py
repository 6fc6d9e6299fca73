"""Convert a config file of mmaction2 (0.x and 1.x) to an experiment of vexp, without running the file.

expressions, config_file   read the file and its bases by their syntax, to a ``tree`` whose leaves have file and line
convert                    converts the tree to a ``ConversionResult``: options, values, and the outcome of every leaf
backbones, models, pipelines, datasets, optimizers, lr_config, param_schedulers, hooks, runtime
                           the rules: which class, argument or key of mmaction2 is what in vexp
pitfalls                   values that have a different effect in mmaction2 than they seem to have
report                     the YAML of the experiment, and the report line by line
"""
