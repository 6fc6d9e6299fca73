#!/usr/bin/env bash
# Which rate, decay and policy together? Optuna chooses twenty short runs one after the other, about fifteen minutes on
# two cores (pip install 'vexp[optuna]'). It goes on with its study where it was stopped; n_trials=40 later goes further.
python -m vexp.train -m hydra/sweeper=optuna hydra.sweeper.n_trials=20 sweep.name=optuna_search 'optimizer.lr=tag(log,interval(1e-4,1e-1))' 'optimizer.weight_decay=tag(log,interval(1e-5,1e-1))' lr=step,cosine,one_cycle epochs=4 "$@"
vexp compare runs/sweeps/optuna_search
