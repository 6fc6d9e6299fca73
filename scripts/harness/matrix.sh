#!/usr/bin/env bash
# Run parts of the tests on every Python interpreter that is found, with the lowest and the newest libraries.
#
#   scripts/harness/matrix.sh            compose, messages, sweeps and the data lane: nothing that needs torch
#   scripts/harness/matrix.sh --torch    the training run debug=fast, too; torch is installed for every leg (5 GB each)
#   scripts/harness/matrix.sh --only 3.13
#   scripts/harness/matrix.sh --pinned   the same as without arguments on two interpreters, with exact versions, so that
#                                        no new release of a library can change its result
#
# A leg is an interpreter with one set of libraries, in an environment below $XDG_CACHE_HOME/vexp-matrix that is kept.
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
exact=( # one version of each bound; what is not named here has that of constraints.txt
  "pinned|3.10|hydra-core==1.3.8 omegaconf==2.3.1 numpy==1.26.4 av==17.1.0 opencv-python-headless==4.10.0.84 pillow==10.4.0"
  "pinned|3.13|hydra-core==1.4.0rc3 omegaconf==2.4.1rc1 numpy==2.4.6 av==19.0.2 opencv-python-headless==5.0.0.93"
)
[ "$pinned" = no ] || edges=("${exact[@]}")
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

rows=() failed=0
mkdir -p "$caches"
leg() { # edge, version, requirements
  local edge=$1 version=$2 python environment part name start status log constraints
  read -ra requirements <<<"$3"
  python=$(interpreter "$version")
  if [ -z "$python" ]; then
    rows+=("$version|$edge|-|no such interpreter|")
    return
  fi
  [ "$with_torch" = no ] || requirements+=(torch torchvision safetensors matplotlib)
  if [ "$pinned" = yes ]; then # without the packages of the leg: pip does not accept two versions of one
    constraints=$(printf '%s\n' "${requirements[@]%%==*}" | paste -sd '|')
    grep -vE "^($constraints)==" constraints.txt >"$caches/constraints.txt"
    requirements+=(-c "$caches/constraints.txt")
  fi
  environment=$caches/$(printf '%s ' "$("$python" -VV)" "$edge" "${requirements[@]}" "${common[@]}" | sha256sum | cut -c1-12)
  log=$environment.log
  start=$SECONDS
  if [ ! -e "$environment/complete" ]; then
    rm -rf "$environment"
    if ! { "$python" -m venv "$environment" && "$environment/bin/pip" install -q "${requirements[@]}" "${common[@]}"; } >"$log" 2>&1; then
      rows+=("$version|$edge|install|FAILED, see $log|$((SECONDS - start))")
      failed=1
      return
    fi
    touch "$environment/complete"
  fi
  local versions
  versions=$("$environment/bin/python" -c 'import av, hydra, numpy, omegaconf as o
print(f"hydra {hydra.__version__}, omegaconf {o.__version__}, numpy {numpy.__version__}, av {av.__version__}")')
  rows+=("$version|$edge|install|$versions|$((SECONDS - start))")
  for part in "${parts[@]}"; do
    name=${part%%|*} start=$SECONDS status=0
    local files=${part#*|} filter=()
    case $files in *" -k "*) filter=(-k "${files#* -k }") files=${files%% -k *} ;; esac
    # shellcheck disable=SC2086  # several files
    PYTHONPATH=src "$environment/bin/python" -m pytest -q -p no:cacheprovider $files "${filter[@]}" >"$log" 2>&1 || status=$?
    rows+=("$version|$edge|$name|$(tail -n 1 "$log" | sed 's/ in .*//')|$((SECONDS - start))")
    [ $status = 0 ] || { failed=1; cp "$log" "$log.$name"; rows[-1]+=" FAILED, see $log.$name"; }
  done
  if [ "$with_torch" = yes ]; then
    start=$SECONDS status=0
    PYTHONPATH=src "$environment/bin/python" -m vexp.train debug=fast out_root="$environment/runs" >"$log" 2>&1 || status=$?
    rows+=("$version|$edge|debug=fast|status $status|$((SECONDS - start))")
    [ $status = 0 ] || failed=1
  fi
}

for edge in "${edges[@]}"; do
  IFS='|' read -r name versions requirements <<<"$edge"
  for version in $versions; do
    [ -n "$only" ] && [ "$only" != "$version" ] || leg "$name" "$version" "$requirements"
  done
done

printf '%-7s %-10s %-11s %-72s %s\n' Python libraries part result seconds
for row in "${rows[@]}"; do
  IFS='|' read -r version edge part result seconds <<<"$row"
  printf '%-7s %-10s %-11s %-72s %s\n' "$version" "$edge" "$part" "$result" "$seconds"
done
exit "$failed"
