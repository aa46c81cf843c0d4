#!/usr/bin/env python3
"""Passkey retrieval through `arkvale generate`: a number hidden in filler text, asked for at the end.

Texts, keys and the answer rule are those of the evaluation protocol (section 1): the context is prefilled, the question
is fed token by token under the policy, and the first run of digits in the answer must be the key. Prints one table row
per configuration; --records FILE keeps every answer as a JSON line.

  scripts/passkey.py -m models/SmolLM2-135M-Instruct.Q4_1.gguf --chars 27750
  scripts/passkey.py --self-test
"""
import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile

TASK = ("There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
        "I will quiz you about the important information there.")
UNIT = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
QUESTION = "\nWhat is the pass key? The pass key is"
DEPTHS = 20
MASK = (1 << 64) - 1


def first_random(name):
    """First output of the protocol's generator (0.2): FNV-1a of the name seeds SplitMix64."""
    state = 14695981039346656037
    for byte in name.encode():
        state = ((state ^ byte) * 1099511628211) & MASK
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def record(length, depth_index, chars, seed=42):
    """(key, context) of record `depth_index` of 20 with `chars` characters of filler; `length` only names the key."""
    key = 1 + first_random(f"passkey/{seed}/{length}/{depth_index}") % 50000
    filler = (UNIT + " ") * (chars // (len(UNIT) + 1) + 1)
    before = chars * depth_index // DEPTHS
    key_line = f"The pass key is {key}. Remember it. {key} is the pass key."
    return key, "\n".join([TASK, filler[:before], key_line, filler[:chars - before]])


def self_test():
    for length, index, key, digest in [(1024, 0, 49436, "564054b6370814b6"), (4096, 7, 36133, "da81d4ca26759d94"),
                                       (8000, 19, 42933, "da1b567e2e3ddc8a")]:
        got, context = record(length, index, 2000)
        assert got == key, (got, key)
        assert len(context) == 2209 and len(QUESTION) == 38
        assert hashlib.sha256((context + QUESTION).encode()).hexdigest()[:16] == digest
    print("passkey texts match the published vectors")


def run(args, context, extra):
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(context)
        file.flush()
        command = [args.arkvale, "generate", "-m", args.model, "-f", file.name, "-q", QUESTION, "-n", "16", "--json",
                   "--quiet"] + extra
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model")
    parser.add_argument("--arkvale", default="build/bin/arkvale")
    parser.add_argument("--length", type=int, default=7500, help="nominal tokens, names the keys (default 7500)")
    parser.add_argument("--chars", type=int, default=27750, help="characters of filler (default 27750)")
    parser.add_argument("--pages", default="16,32")
    parser.add_argument("--budgets", default="512,1024,2048")
    parser.add_argument("--depths", default="5,25,50,75,95", help="percent, multiples of 5")
    parser.add_argument("--records", help="file that gets one JSON line per answer")
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    if not args.model:
        parser.error("-m MODEL is required")
    depths = [int(d) for d in args.depths.split(",")]
    configurations = [("full attention", ["--kv-policy", "full"])]
    for page in args.pages.split(","):
        for budget in args.budgets.split(","):
            configurations.append((f"p={page} c={budget}", ["--kv-page", page, "--kv-budget", budget]))
    records = open(args.records, "w", encoding="utf-8") if args.records else None
    print("| | " + " | ".join(f"{d} %" for d in depths) + " | right |")
    print("| --- " * (len(depths) + 2) + "|", flush=True)
    for name, extra in configurations:
        cells, right = [], 0
        for depth in depths:
            key, context = record(args.length, depth * DEPTHS // 100, args.chars)
            result = run(args, context, extra)
            digits = re.search("[0-9]+", result["text"])
            correct = digits is not None and int(digits.group()) == key
            right += correct
            cells.append("yes" if correct else f"no ({result['text'].strip().splitlines()[0][:24] if result['text'].strip() else ''})")
            if records:
                line = {"configuration": name, "depth": depth / 100, "key": key, "correct": correct,
                        "text": result["text"], "tokens": result["tokens"], "kv": result["kv"],
                        "timings": result["timings"]}
                print(json.dumps(line), file=records, flush=True)
        print(f"| {name} | " + " | ".join(cells) + f" | {right}/{len(depths)} |", flush=True)


if __name__ == "__main__":
    main()
