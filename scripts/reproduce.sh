#!/usr/bin/env bash
# Measures every table and figure of the ArkVale paper that needs no GPU, with every policy, and draws them. As in the
# paper the first two layers keep everything, under every policy. Then XKV: budgets for each layer, planned on one book
# and judged on the other.
#   reproduce.sh [--quick|--standard|--full] [--out DIR] [--models NAME,...] [--threads N]
# One folder per model and task below DIR (build/results): records.jsonl, summary.json, summary.md, the command; and
# pictures in DIR/MODEL/pictures. What is complete is skipped, what was interrupted goes on where eval can; a task that
# fails is told at the end and the others still run. Exit codes: 0 all done, 1 a failure, 2 wrong flags, 130 Ctrl-C.
#   --quick     the default: less than a quarter of an hour on two cores
#   --standard  the sizes of doc/results.md: many hours
#   --models    smollm2, gemma (both)
#   ARKVALE         the binary (build/bin/arkvale)        ARKVALE_MODELS   folder of the models (models/)
#   BOOKS           folder of frankenstein.txt and pride_and_prejudice.txt (../shared/books)
#   LONGBENCH       folder of LongBench's SET.jsonl (../shared/longbench)
# Tasks whose texts are missing are left out, and named.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() { sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
wrong() { echo "reproduce: $1" >&2; usage >&2; exit 2; }

preset=quick out=$root/build/results models=smollm2,gemma threads=
while [[ $# -gt 0 ]]; do
  case $1 in
    --quick|--standard|--full) preset=${1#--} ;;
    --out|--models|--threads)
      [[ $# -ge 2 ]] || wrong "$1 needs a value"
      printf -v "${1#--}" %s "$2"
      shift ;;
    -h|--help) usage; exit 0 ;;
    *) wrong "unknown flag '$1'" ;;
  esac
  shift
done

binary=${ARKVALE:-$root/build/bin/arkvale}
models_dir=${ARKVALE_MODELS:-$root/models}
books=${BOOKS:-$root/../shared/books}
longbench=${LONGBENCH:-$root/../shared/longbench}
[[ -x $binary ]] || { echo "reproduce: $binary is missing: run 'make build' or set ARKVALE" >&2; exit 1; }

declare -A files=([smollm2]=SmolLM2-135M-Instruct.Q4_1.gguf [gemma]=gemma-3-270m-q4_k_m.gguf)
IFS=, read -ra names <<<"$models"
[[ ${#names[@]} -gt 0 ]] || wrong "--models is empty"
for name in "${names[@]}"; do
  [[ -n ${files[$name]:-} ]] || wrong "--models '$name' is unknown: use smollm2 or gemma"
  file=$models_dir/${files[$name]}
  [[ -f $file ]] || { echo "reproduce: $file is missing: run scripts/get_models.sh $name" >&2; exit 1; }
done

texts=
book=$books/frankenstein.txt
if [[ -f $book ]]; then
  texts=$book
  [[ $preset != quick && -f $books/pride_and_prejudice.txt ]] && texts+=,$books/pride_and_prejudice.txt
fi
[[ -f $longbench/qasper.jsonl ]] || longbench=

planned_on=$books/pride_and_prejudice.txt
cells=(--policies arkvale,quest,streaming,h2o,tova,snapkv,pyramidkv --digests cuboid-mean,code2)
plan_budgets=512,1024,2048 plan_prompt=7232
[[ $preset != quick ]] || plan_budgets=256,512 plan_prompt=2112
all_digests=centroid,sphere-max,sphere-center,sphere-mean,cuboid-max,cuboid-center,cuboid-mean,code1,code2

# What a task of a model lacks, or nothing.
missing() {
  case $2 in
    passkey) ;;
    longbench) [[ -n $longbench ]] || echo "LongBench's records: set LONGBENCH" ;;
    ruler|fidelity) [[ -n $texts ]] || echo "books: set BOOKS" ;;
    plan_*) [[ -f $planned_on ]] || echo "book to plan on, pride_and_prejudice.txt: set BOOKS" ;;
    planned)
      [[ -n $texts ]] || { echo "books: set BOOKS" && return; }
      compgen -G "$out/$1/plan_*/*.json" >/dev/null || echo "plan to judge" ;;
    *) [[ -n $texts || $preset != quick && -n $longbench ]] || echo "books: set BOOKS" ;;
  esac
}

# Sets `args` to the arguments of a task of a model, but for --model and --out.
arguments() {
  local study=(--text "$texts") sizes=(--preset "$preset") plans
  [[ $preset == quick ]] && study+=(--context 4096)
  [[ $preset != quick && -n $longbench ]] && study=(--data "$longbench")
  [[ -z $threads ]] || sizes+=(--threads "$threads")
  case $2 in
    passkey) args=("${cells[@]}") ;;
    longbench)
      args=("${cells[@]}" --data "$longbench")
      [[ $preset == quick ]] && args+=(--sets qasper,2wikimqa --limit 2 --max-prompt 2500) ;;
    ruler)
      args=("${cells[@]}" --book "$book")
      [[ $preset == quick ]] && args+=(--samples 2) ;;
    fidelity) args=("${cells[@]}" --text "$texts" --copy) ;;
    recall) args=(--digests "$all_digests" "${study[@]}") ;;
    sparsity) args=("${study[@]}") ;;
    dynamics)
      args=("${study[@]}" --steps 250 --limit 1)
      [[ ${study[0]} == --data ]] && args+=(--sets gov_report) ;;
    recalls) args=(--simulate "${study[@]}") ;;
    plan_*)
      args=(plan --for "${2#plan_}" --text "$planned_on" --max-prompt "$plan_prompt" --sample-fraction 0.01 --budget
            "$plan_budgets" --json "${sizes[@]:2}")
      return ;;
    planned)
      plans=("$out/$1"/plan_*/*.json)
      args=(eval fidelity --text "$book" --copy --policies arkvale,snapkv --digests code2 --budgets "$plan_budgets"
            --plans "$(IFS=,; echo "${plans[*]}")" "${sizes[@]}")
      return ;;
  esac
  args=(eval "$2" "${args[@]}" "${sizes[@]}" --kv-dense-layers 2)
}

clock() { printf '%d:%02d min' $(($1 / 60)) $(($1 % 60)); }

# Runs a task once into a folder, unless the same command is complete there: its output is named so at the end.
run_task() {
  local folder=$out/$1/$2 started=$SECONDS code=0 to=$out/$1/$2
  [[ $2 != plan_* ]] || to=$folder/${2#plan_}.json
  local command=("$binary" "${args[@]}" -m "$models_dir/${files[$1]}" --out "$to")
  if [[ -f $folder/output && "$(cat "$folder/command" 2>/dev/null)" == "${command[*]@Q}" ]]; then
    echo "complete already"
    return 0
  fi
  mkdir -p "$folder" && rm -f "$folder/output" && echo "${command[*]@Q}" >"$folder/command" || return 1
  "${command[@]}" >"$folder/output.part" || code=$?
  [[ $code -eq 0 ]] && mv "$folder/output.part" "$folder/output" && echo "done in $(clock $((SECONDS - started)))"
  return $code
}

# draw MODEL FOLDER-FOR-PICTURES FOLDER|PLAN...
draw() {
  python3 "$root/scripts/plot.py" -o "$out/$1/$2" "${@:3}" || failed+=("$1/$2")
}

interrupted() {
  echo "reproduce: interrupted after $(clock $SECONDS); the same command goes on" >&2
  exit 130
}
trap interrupted INT

tasks=(passkey recall sparsity dynamics recalls fidelity ruler longbench plan_arkvale plan_xkv planned)
failed=() skipped=() n=0
for model in "${names[@]}"; do
  drawn=()
  for task in "${tasks[@]}"; do
    n=$((n + 1))
    echo "[$n/$((${#names[@]} * ${#tasks[@]}))] $(clock $SECONDS) $model $task ($preset)"
    lacks=$(missing "$model" "$task")
    if [[ -n $lacks ]]; then
      echo "skipped, no $lacks"
      skipped+=("$model/$task")
      continue
    fi
    arguments "$model" "$task"
    run_task "$model" "$task"
    code=$?
    [[ $code -eq 130 ]] && interrupted
    if [[ $code -ne 0 ]]; then
      echo "reproduce: $model $task failed with exit code $code" >&2
      failed+=("$model/$task")
      continue
    fi
    case $task in
      plan_*) drawn+=("$out/$model/$task"/*.json) ;;
      planned) draw "$model" pictures/planned "$out/$model/$task" ;;
      *) drawn+=("$out/$model/$task") ;;
    esac
  done
  [[ ${#drawn[@]} -eq 0 ]] || draw "$model" pictures "${drawn[@]}"
done

echo "$preset: $(clock $SECONDS) in all, results in $out"
[[ ${#skipped[@]} -eq 0 ]] || echo "skipped: ${skipped[*]}"
[[ ${#failed[@]} -eq 0 ]] || { echo "reproduce: failed: ${failed[*]}" >&2; exit 1; }
