#!/usr/bin/env bash
# Run parts of the tests on every Python interpreter that is found, with the lowest and the newest libraries.
#
#   scripts/harness/matrix.sh            compose, messages, sweeps and the data lane: nothing that needs torch
#   scripts/harness/matrix.sh --torch    a training run, its evaluation and the golden runs, too; torch is installed for
#                                        every leg (5 GB), and the environment removed after it
#   scripts/harness/matrix.sh --only 3.13
#   scripts/harness/matrix.sh --pinned   the same as without arguments on two interpreters, with exact versions, so that
#                                        no new release of a library can change its result
#
# A leg is an interpreter with one set of libraries, in an environment below $XDG_CACHE_HOME/vexp-matrix that is kept
# (not with --torch).
# Interpreters: python3.10 ... python3.14 of the PATH, and those of pyenv. The exit status is 1 if a leg fails.
set -euo pipefail
cd "$(dirname "$0")/../.."
unset PYTHONPATH VEXP_CONFIG_PATH VEXP_CACHE HYDRA_FULL_ERROR
export PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1

with_torch=no only="" pinned=no
while [ $# -gt 0 ]; do
  case $1 in
    --torch) with_torch=yes ;;
    --only) only=$2; shift ;;
    --pinned) pinned=yes ;;
    *) echo "usage: $0 [--torch] [--only 3.x] [--pinned]" >&2; exit 2 ;;
  esac
  shift
done

caches=${XDG_CACHE_HOME:-$HOME/.cache}/vexp-matrix
common=(simplejpeg pillow rich PyYAML pytest pytest-xdist hypothesis)
# edge | versions, lowest: those that pyproject.toml allows; hydra-1.4: its release candidate until it is out
edges=(
  "lowest|3.10|hydra-core==1.3.8 omegaconf==2.3.1 numpy==1.26.* av==17.* opencv-python-headless==4.10.*"
  "newest|3.10 3.11 3.12 3.13 3.14|hydra-core>=1.3.8,<1.4 omegaconf>=2.3.1,<2.4 numpy av opencv-python-headless"
  "hydra-1.4|3.13|hydra-core>=1.4.0rc3,<1.5 omegaconf>=2.4.1rc1,<2.5 numpy av opencv-python-headless"
)
torch() { # of an edge
  case $1 in
    lowest) echo "torch==2.6.* torchvision==0.21.*" ;;
    *) echo "torch torchvision" ;;
  esac
}
exact=( # one version of each bound; what is not named here has that of constraints.txt
  "pinned|3.10|hydra-core==1.3.8 omegaconf==2.3.1 numpy==1.26.4 av==17.1.0 opencv-python-headless==4.10.0.84 pillow==10.4.0 hypothesis==6.168.5"
  "pinned|3.13|hydra-core==1.4.0rc3 omegaconf==2.4.1rc1 numpy==2.4.6 av==19.0.2 opencv-python-headless==5.0.0.93"
)
[ "$pinned" = no ] || edges=("${exact[@]}")
lanes=(-m 'not slow and not gpu')
# The parts of a leg: name | arguments of pytest
parts=(
  "compose|tests/config/test_hydra_versions.py tests/config/test_compose.py -k not(torch)"
  "messages|tests/config/test_errors.py -k invalid_override_gives or several_invalid"
  "sweeps|tests/sweep/test_job_overrides.py tests/test_known_traps.py"
  "data|tests/data/decoding/test_pyav.py tests/data/decoding/test_damaged_files.py tests/data/decoding/test_index_file.py tests/data/decoding/test_color.py"
)

interpreter() { # of version 3.x: the one of the PATH, else of pyenv
  local found
  for found in "$(command -v "python$1" || true)" "$HOME"/.pyenv/versions/"$1".*/bin/python; do
    if [ -x "$found" ] && "$found" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
      echo "$found"
      return
    fi
  done
}

failed=0
mkdir -p "$caches"
row() { printf '%-7s %-10s %-11s %-72s %s\n' "$@"; }
part() { # edge, version, name, command ...: prints its row
  local edge=$1 version=$2 name=$3 start=$SECONDS status=0 result
  shift 3
  PYTHONPATH=src "$@" >"$log" 2>&1 || status=$?
  result=$(tail -n 1 "$log" | sed 's/ in [0-9.]*s.*//' | cut -c1-60)
  [ "$status" = 0 ] || { failed=1; cp "$log" "$log.$name"; result="FAILED ($status), see $log.$name"; }
  row "$version" "$edge" "$name" "$result" $((SECONDS - start))
}
versions() { # python: prints the libraries of its environment that matter
  "$1" -c 'from importlib.metadata import PackageNotFoundError, version
for name in "hydra-core", "omegaconf", "numpy", "av", "torch":
    try:
        print(name, version(name), end="  ")
    except PackageNotFoundError:
        pass'
}
leg() { # edge, version, requirements
  local edge=$1 version=$2 python environment each log start=$SECONDS requirements constraints
  read -ra requirements <<<"$3 $([ "$with_torch" = no ] || echo "$(torch "$edge") safetensors matplotlib")"
  python=$(interpreter "$version")
  if [ -z "$python" ]; then
    row "$version" "$edge" - "no such interpreter" ""
    return
  fi
  if [ "$pinned" = yes ]; then # without the packages of the leg: pip does not accept two versions of one
    constraints=$(printf '%s\n' "${requirements[@]}" | sed -n 's/==.*//p' | paste -sd '|')
    grep -vE "^($constraints)==" constraints.txt >"$caches/constraints.txt"
    requirements+=(-c "$caches/constraints.txt")
  fi
  environment=$caches/$(printf '%s ' "$("$python" -VV)" "$edge" "${requirements[@]}" "${common[@]}" | sha256sum | cut -c1-12)
  log=$environment.log
  if [ ! -e "$environment/complete" ]; then
    rm -rf "$environment"
    if ! { "$python" -m venv "$environment" && "$environment/bin/pip" install -q "${requirements[@]}" "${common[@]}"; } >"$log" 2>&1; then
      row "$version" "$edge" install "FAILED, see $log" $((SECONDS - start))
      failed=1
      return
    fi
    touch "$environment/complete"
  fi
  row "$version" "$edge" install "$(versions "$environment/bin/python")" $((SECONDS - start))
  for each in "${parts[@]}"; do
    local files=${each#*|} filter=("${lanes[@]}")
    case $files in *" -k "*) filter+=(-k "${files#* -k }") files=${files%% -k *} ;; esac
    # shellcheck disable=SC2086  # several files
    part "$edge" "$version" "${each%%|*}" "$environment/bin/python" -m pytest -q --durations=0 -p no:cacheprovider $files "${filter[@]}"
  done
  if [ "$with_torch" = yes ]; then
    part "$edge" "$version" debug=fast "$environment/bin/python" -m vexp.train debug=fast out_root="$environment/runs"
    part "$edge" "$version" evaluate "$environment/bin/python" -m vexp evaluate run="$(ls -d "$environment"/runs/debug/*)"
    part "$edge" "$version" training "$environment/bin/python" -m pytest -q --durations=0 -p no:cacheprovider "${lanes[@]}" \
      tests/training/test_resume.py tests/checkpoint tests/optim
    rm -rf "$environment"
  fi
}

row Python libraries part result seconds
for edge in "${edges[@]}"; do
  IFS='|' read -r name versions requirements <<<"$edge"
  for version in $versions; do
    [ -n "$only" ] && [ "$only" != "$version" ] && continue
    leg "$name" "$version" "$requirements"
  done
done
exit "$failed"
