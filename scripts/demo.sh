#!/usr/bin/env bash
# The main job, shown: a question about a long text under a small KV budget, its answer, the speed beside full attention
# and llama.cpp, and what was evicted and recalled.
#
# usage: scripts/demo.sh [BINARY]
#   ARKVALE_MODELS         folder of the models (default: models/)
#   ARKVALE_DEMO_BUDGET    hot tokens per layer (default: 1024)
#   ARKVALE_DEMO_QUESTION  another question about the text
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
binary=${1:-$root/build/bin/arkvale}
model=${ARKVALE_MODELS:-$root/models}/SmolLM2-135M-Instruct.Q4_1.gguf
text=$root/tests/data/frankenstein_excerpt.txt
# The model has 135M parameters: the question begins the answer for it. What it asks for stands some 600 tokens before the
# end, outside sinks and window, so its page must be hot by choice.
question=${ARKVALE_DEMO_QUESTION:-$'\n\nQ: Where is the stranger who tells his history by birth from?\nA: He is by birth a'}
budget=${ARKVALE_DEMO_BUDGET:-1024}

for file in "$binary" "$model" "$text"; do
  if [[ ! -e $file ]]; then
    echo "demo: $file is missing: run 'make demo'" >&2
    exit 1
  fi
done

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

echo "Reading $(wc -w < "$text") words, then answering under a budget of $budget hot tokens per layer ..."
for policy in full arkvale; do
  "$binary" generate -m "$model" -f "$text" -q "$question" -n 48 --stop $'\n' --kv-policy "$policy" \
    --kv-budget "$budget" --json > "$results/$policy.json"
done
prompt_tokens='import json, sys; print(json.load(sys.stdin)["tokens"]["prompt"])'
depth=$(($(python3 -c "$prompt_tokens" < "$results/arkvale.json") - 64))
echo "Measuring decode at $depth tokens beside llama.cpp (some minutes) ..."
"$binary" bench -m "$model" --text "$text" --depths "$depth" --budgets "$budget" --peer llama.cpp --rounds 3 -n 16 \
  --json > "$results/bench.jsonl"

python3 "$root/scripts/demo_report.py" "$results" "$question"
