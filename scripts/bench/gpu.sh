#!/usr/bin/env bash
# Everything about vexp that only a machine with a GPU can show, in at most ten minutes: gpu.json and gpu.md in a folder.
#
#     scripts/bench/gpu.sh                     in the folder gpu-results
#     scripts/bench/gpu.sh --out FOLDER        in another folder
#     scripts/bench/gpu.sh --videos FOLDER     with your own videos instead of a generated scene
#     scripts/bench/gpu.sh --dry-run           every part with tiny sizes on a CPU; its figures are meaningless
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec "${PYTHON:-python}" scripts/bench/gpu.py "$@"
