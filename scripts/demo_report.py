"""Prints what scripts/demo.sh measured.

usage: demo_report.py FOLDER QUESTION    FOLDER holds full.json, arkvale.json and bench.jsonl
"""

import json
import sys
import textwrap


def mib(n_bytes):
    return f"{n_bytes / (1 << 20):.1f} MiB"


def answer(result):
    return textwrap.indent(textwrap.fill(result["text"].strip(), 100), "    ")


def main(folder, question):
    with open(f"{folder}/full.json") as f:
        full = json.load(f)
    with open(f"{folder}/arkvale.json") as f:
        arkvale = json.load(f)
    with open(f"{folder}/bench.jsonl") as f:
        *rows, last = [json.loads(line) for line in f]
    kv, tokens = arkvale["kv"], arkvale["tokens"]
    hot = kv["hot_bytes"] + kv["digest_bytes"]

    print(f"\nThe question, after {tokens['prompt']} tokens of text:")
    print(textwrap.indent(question.strip(), "    "))
    print(f"\nThe answer with {kv['budget_tokens']} hot tokens per layer:\n{answer(arkvale)}")
    print(f"\nThe answer with full attention:\n{answer(full)}")

    print(f"\nDecode speed at {rows[0]['depth_tokens']} tokens:")
    for row in rows:
        name = row["engine"] if row["engine"] != "arkvale" else (
            "arkvale, full attention" if row["budget_tokens"] is None else f"arkvale, budget {row['budget_tokens']}")
        print(f"    {name:26} {row['decode_ms_median']:7.2f} ms/token  {1000 / row['decode_ms_median']:7.1f} tokens/s")
    for ratio in last["ratios"]:
        rounds = f"rounds {ratio['min']:.2f} to {ratio['max']:.2f}"
        print(f"    {ratio['a']}: {ratio['median']:.2f} x {ratio['b']} ({rounds})")

    steps = tokens["question"] + tokens["generated"] - 1
    print("\nWhat the KV cache did:")
    print(f"    evicted {kv['evicted_pages']} pages of {kv['page_tokens']} tokens, "
          f"recalled {kv['recalled_pages']} of them in {steps} steps ({kv['recalls_per_step_mean']:.0f} a step, {mib(kv['recalled_bytes'])})")
    print(f"    hot at the end: {mib(kv['hot_bytes'])} of KV + {mib(kv['digest_bytes'])} of digests; "
          f"dense attention reads {mib(kv['full_bytes'])}: {kv['full_bytes'] / hot:.1f} x as much")
    print(f"    in memory altogether (RAM is read in place, so pages are kept once): {mib(kv['total_bytes'])}")
    machine = last["machine"]
    print(f"\nMachine: {machine['cpu']}, {machine['threads']} threads, {machine['compiler']}, {machine['build_type']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
