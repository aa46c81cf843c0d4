#!/usr/bin/env bash
# Builds the pinned llama.cpp (static libraries and headers) once per compiler and CPU, outside the build tree. Of its
# `common` only the Jinja engine and the JSON schema converter are built (libllama-text.a): all of it takes as long as
# the rest together. llama_cpp.patch keeps templates and grammars from others from hanging or ending the process.
#   get_llama_cpp.sh              builds what is missing and prints the directory
#   get_llama_cpp.sh --print-dir  prints the directory only
# The source is the one that the PyPI sdist llama-cpp-python carries: one version for everybody, checked by its hash.
# ARKVALE_CACHE (default ~/.cache/arkvale) holds the result, ARKVALE_JOBS (default: all cores) is the build's width.
set -euo pipefail

version=0.3.36
sdist_sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
options=(
  -DCMAKE_BUILD_TYPE=Release
  -DCMAKE_POSITION_INDEPENDENT_CODE=ON
  -DBUILD_SHARED_LIBS=OFF
  -DGGML_NATIVE=ON
  -DGGML_OPENMP=OFF
  -DLLAMA_BUILD_COMMON=OFF
  -DLLAMA_BUILD_TOOLS=OFF
  -DLLAMA_BUILD_EXAMPLES=OFF
  -DLLAMA_BUILD_SERVER=OFF
  -DLLAMA_BUILD_TESTS=OFF
  -DLLAMA_BUILD_APP=OFF
  -DLLAMA_OPENSSL=OFF
  -DLLAMA_BUILD_NUMBER=0
  "-DLLAMA_BUILD_COMMIT=llama-cpp-python-$version"
)

# Sources of libllama-text.a below common/, and the headers that their users need.
text_sources=(
  jinja/lexer jinja/parser jinja/runtime jinja/string jinja/value json json-schema json-schema-to-grammar strings trie
  unicode
)
text_headers=(
  jinja/budget.h jinja/lexer.h jinja/parser.h jinja/runtime.h jinja/string.h jinja/utils.h jinja/value.h json.h
  json-schema.h json-schema-to-grammar.h
)
text_flags=(-std=c++17 -O2 -DNDEBUG -fPIC -Icommon -Iinclude -Iggml/include -Ivendor)

patch=$(dirname "$(readlink -f "$0")")/llama_cpp.patch
cxx=${CXX:-c++}
cache=${ARKVALE_CACHE:-$HOME/.cache/arkvale}
# GGML_NATIVE makes code for this very CPU, so its flags are part of the key.
cpu_flags=$(grep -m1 -iE '^(flags|features)' /proc/cpuinfo || uname -m)
key=$(printf '%s\n' "$version" "$sdist_sha256" "$("$cxx" --version 2>/dev/null | sed -n "1s/^[^ ]* //p")" "$(uname -m)" "$cpu_flags" \
  "${options[@]}" "${text_sources[@]}" "${text_headers[@]}" "${text_flags[@]}" "$(sha256sum <"$patch")" | sha256sum | cut -c1-12)
dir=$cache/llama.cpp-$version-$key

case "${1:-}" in
  --print-dir) echo "$dir"; exit 0 ;;
  "") ;;
  *) echo "usage: $0 [--print-dir]" >&2; exit 2 ;;
esac
if [[ -d $dir ]]; then
  echo "$dir"
  exit 0
fi

python=python3
[[ -x /usr/bin/python3 ]] && /usr/bin/python3 -m pip --version >/dev/null 2>&1 && python=/usr/bin/python3
mkdir -p "$cache"
work=$(mktemp -d "$cache/.llama.cpp.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "llama.cpp: fetching the source (77 MB)" >&2
# The hash is in a requirements file because pip then checks it before it runs anything of the package.
echo "llama-cpp-python==$version --hash=sha256:$sdist_sha256" >"$work/requirements.txt"
"$python" -m pip download --quiet --no-cache-dir --no-deps --no-binary llama-cpp-python --require-hashes \
  -r "$work/requirements.txt" -d "$work" >&2
tar xzf "$work/llama_cpp_python-$version.tar.gz" -C "$work" --strip-components=2 \
  "llama_cpp_python-$version/vendor/llama.cpp"
patch --quiet --fuzz=0 -p1 -d "$work/llama.cpp" <"$patch"

echo "llama.cpp: building (about 3 minutes on two cores)" >&2
# The directory's name is random; a base directory lets ccache know the files again.
export CCACHE_BASEDIR=$work CCACHE_NOHASHDIR=1
cmake -S "$work/llama.cpp" -B "$work/build" -G Ninja "${options[@]}" -DCMAKE_INSTALL_PREFIX="$work/install" \
  -DCMAKE_INSTALL_LIBDIR=lib >"$work/configure.log" 2>&1 || { cat "$work/configure.log" >&2; exit 1; }
ninja -C "$work/build" -j "${ARKVALE_JOBS:-$(nproc)}" llama >&2
cmake --install "$work/build" >"$work/install.log" 2>&1 || { cat "$work/install.log" >&2; exit 1; }

launcher=$(command -v ccache || true)
mkdir -p "$work/text" "$work/install/include/llama-text/jinja"
for source in "${text_sources[@]}"; do
  echo "${text_flags[*]} -c common/$source.cpp -o ../text/${source//\//_}.o"
done | (cd "$work/llama.cpp" && xargs -P "${ARKVALE_JOBS:-$(nproc)}" -L 1 $launcher "$cxx")
ar rcs "$work/install/lib/libllama-text.a" "$work"/text/*.o
for header in "${text_headers[@]}"; do
  cp "$work/llama.cpp/common/$header" "$work/install/include/llama-text/$header"
done

mkdir -p "$work/install/include/nlohmann"
cp "$work"/llama.cpp/vendor/nlohmann/json*.hpp "$work/install/include/nlohmann/"
cp "$work/llama.cpp/LICENSE" "$work/install/LICENSE"
echo "llama.cpp of llama-cpp-python $version" >"$work/install/VERSION"
# Somebody else may have finished the same build meanwhile; both are equal.
mv -T "$work/install" "$dir" 2>/dev/null || [[ -d $dir ]]
echo "$dir"
