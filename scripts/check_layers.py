#!/usr/bin/env python3
"""Fails on every #include that the layers (ROOMS and TOOLS below) do not allow.

  check_layers.py              checks the project
  check_layers.py --self-test  checks this script
"""

import pathlib
import re
import sys

# Room of src/ -> rooms it may include besides itself and include/arkvale.
ROOMS = {
    "base": set(),
    "device": {"base"},
    "text": {"base"},
    "ops": {"device", "base"},
    "kv": {"ops", "device", "base"},
    "plan": {"kv", "ops", "base"},
    "model": {"kv", "ops", "text", "device", "base"},
    "engine": {"base", "device", "text", "ops", "kv", "plan", "model"},
}
# Folder of tools/ -> rooms it may include; folders not named here may include every room.
TOOLS = {"common": {"base", "text"}, "generate": set(), "chat": set(), "serve": set()}
# Folder of tools/ -> folders it may include besides itself and common: a plan is measured and judged as eval does it.
TOOL_EDGES = {"plan": {"eval"}}

LLAMA = re.compile(r"^((llama(-cpp)?|common|chat|sampling|json|json-schema.*)\.h|jinja/.*)$")
GGML = re.compile(r"^(ggml[\w-]*|gguf)\.h$")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', re.MULTILINE)
SUFFIXES = {".h", ".cc", ".cu", ".cuh"}


def is_test(path):
    return path.parts[0] == "tests" or re.search(r"(^|_)test(_|\.|$)", path.name) is not None


def external_error(path, included):
    """Rules for llama.cpp's headers."""
    place = "/".join(path.parts[:2])
    if is_test(path):
        return None
    if LLAMA.match(included) and place not in ("src/text", "tools/bench"):
        return "libllama's headers belong to src/text, tests and tools/bench"
    if GGML.match(included):
        if place not in ("src/ops", "src/model"):
            return "ggml's headers belong to src/ops, src/model and tests"
        if path.suffix == ".h" and not path.stem.endswith("_inl"):
            return "ggml's headers belong to .cc and _inl.h files: a header passes them on"
    return None


def edge_error(path, included):
    """Rules for our own headers. `path` is relative to the project's root."""
    top, target = path.parts[0], included.split("/")[0]
    if "/" not in included or target not in ROOMS.keys() | {"tools", "tests", "bench", "src", "include"}:
        return None
    if target in ("src", "include"):
        return "write the path below src/ or include/"
    if top == "include":
        return f"include/ may not include {target}/: a user has only include/arkvale"
    if top == "src":
        room = path.parts[1]
        if room not in ROOMS:
            return f"src/{room} is not a room: name it and its edges in {pathlib.Path(__file__).name}"
        if target != room and target not in ROOMS[room]:
            return f"{room} may include {', '.join(sorted(ROOMS[room])) or 'no other room'}, not {target}"
    if top == "tools":
        folder = path.parts[1] if len(path.parts) > 2 else None
        if target in ("tests", "bench"):
            return f"tools may not include {target}/"
        if folder in TOOLS and target in ROOMS and target not in TOOLS[folder]:
            return f"tools/{folder} may not include the room {target}"
        own = {folder, "common"} | TOOL_EDGES.get(folder, set())
        if folder and target == "tools" and included.split("/")[1] not in own:
            return f"tools/{folder} may include {', '.join(f'tools/{name}' for name in sorted(own))} only"
    return None


def check_text(path, text):
    """Messages for one file, as path:line: reason."""
    found = []
    for match in INCLUDE.finditer(text):
        error = external_error(path, match[1]) or edge_error(path, match[1])
        if error:
            line = text.count("\n", 0, match.start(1)) + 1
            found.append(f"{path}:{line}: {match[1]}: {error}")
    return found


def check_tree(root):
    found, files = [], 0
    for top in ("include", "src", "tools", "tests", "bench"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix in SUFFIXES and file.is_file():
                files += 1
                found += check_text(file.relative_to(root), file.read_text(encoding="utf-8"))
    return found, files


def self_test():
    good = [
        ("src/kv/cache.cc", "ops/top_k.h"),
        ("src/kv/cache.cc", "kv/ids.h"),
        ("src/kv/cache.cc", "arkvale/stats.h"),
        ("src/engine/engine.cc", "model/config.h"),
        ("src/text/tokenizer.cc", "llama.h"),
        ("src/ops/matmul_cpu.cc", "ggml-cpu.h"),
        ("src/ops/dequantise_inl.h", "ggml.h"),
        ("src/ops/test_util.h", "ggml.h"),
        ("src/ops/rope_test.cc", "llama.h"),
        ("src/ops/rope.cc", "hwy/highway.h"),
        ("tests/parity_model_test.cc", "gguf.h"),
        ("tests/parity_model_test.cc", "engine/session.h"),
        ("tools/bench/peer_llama.cc", "llama.h"),
        ("tools/bench/own.cc", "engine/session.h"),
        ("tools/generate/generate.cc", "tools/common/cli.h"),
        ("tools/main.cc", "tools/bench/bench.h"),
        ("tools/plan/validate.cc", "tools/eval/lockstep.h"),
        ("include/arkvale/engine.h", "arkvale/status.h"),
    ]
    bad = [
        ("src/ops/rope.cc", "kv/cache.h"),
        ("src/base/log.cc", "device/device.h"),
        ("src/text/sampler.cc", "model/config.h"),
        ("src/kv/cache_test.cc", "model/config.h"),
        ("src/kv/cache.cc", "tools/common/cli.h"),
        ("src/extra/x.cc", "base/check.h"),
        ("src/kv/cache.cc", "src/ops/top_k.h"),
        ("src/model/weights.cc", "llama.h"),
        ("src/engine/prompt.cc", "jinja/runtime.h"),
        ("src/engine/engine.cc", "json-schema-to-grammar.h"),
        ("src/kv/cache.cc", "ggml.h"),
        ("src/ops/weight.h", "gguf.h"),
        ("tools/inspect/inspect.cc", "gguf.h"),
        ("tools/generate/generate.cc", "engine/session.h"),
        ("tools/generate/generate.cc", "tools/bench/bench.h"),
        ("tools/eval/lockstep.cc", "tools/plan/validate.h"),
        ("tools/common/json.cc", "kv/cache.h"),
        ("include/arkvale/engine.h", "base/check.h"),
    ]
    for path, included in good:
        for text in (f'#include "{included}"\n', f"int x;\n  # include <{included}> // why\n"):
            assert check_text(pathlib.Path(path), text) == [], (path, included)
    for path, included in bad:
        found = check_text(pathlib.Path(path), f'\n#include "{included}"\n')
        assert len(found) == 1 and found[0].startswith(f"{path}:2: {included}: "), (path, included, found)
    for text in ('// #include "kv/cache.h"\n', 'const char* s = "#include <llama.h>";\n', ""):
        assert check_text(pathlib.Path("src/base/x.cc"), text) == [], text
    print(f"check_layers self-test: {len(good)} allowed and {len(bad)} refused includes as expected")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    if sys.argv[1:]:
        sys.exit(__doc__)
    found, files = check_tree(pathlib.Path(__file__).resolve().parent.parent)
    if files == 0:
        sys.exit("check_layers: found no source files")
    for message in found:
        print(message, file=sys.stderr)
    if found:
        sys.exit(1)
    print(f"check_layers: {files} files keep the layers")


if __name__ == "__main__":
    main()
