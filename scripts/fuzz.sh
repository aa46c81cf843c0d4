#!/usr/bin/env bash
# Runs one fuzz target, from its seeds and from what earlier runs of this build tree found.
#   fuzz.sh TARGET [SECONDS] [BUILD_DIR]    60 s in build/fuzz; built by: make test-fuzz
# An input that crashes, hangs or takes too much memory is kept as BUILD_DIR/crashes/TARGET-*, and the exit code is not
# 0. `BUILD_DIR/bin/TARGET_fuzz FILE` runs it again.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

[[ $# -ge 1 ]] || { sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
target=$1 seconds=${2:-60} build=${3:-$root/build/fuzz}
corpus=$build/corpus/$target
mkdir -p "$corpus" "$build/crashes"
options=(-max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=1
  -artifact_prefix="$build/crashes/$target-")
[[ -f $root/fuzz/$target.dict ]] && options+=(-dict="$root/fuzz/$target.dict")
[[ -f $root/fuzz/$target.options ]] && read -ra more <"$root/fuzz/$target.options" && options+=("${more[@]}")
exec "$build/bin/${target}_fuzz" "${options[@]}" "$corpus" "$build/fuzz/seeds/$target"
