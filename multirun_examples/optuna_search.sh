#!/usr/bin/env bash
# Which combination of learning rate, weight decay and policy is the best? Twenty short runs with values chosen by Optuna,
# about fifteen minutes on two cores (pip install 'vexp[optuna]'). Run the script again to resume the study, and increase
# n_trials to extend it.
vexp train -m hydra/sweeper=optuna hydra.sweeper.n_trials=20 sweep.name=optuna_search 'optimizer.lr=tag(log,interval(1e-4,1e-1))' 'optimizer.weight_decay=tag(log,interval(1e-5,1e-1))' lr=step,cosine,one_cycle epochs=4 "$@"
vexp compare runs/sweeps/optuna_search
