#include "tools/bench/plan.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <limits>

namespace arkvale::tools {
namespace {

constexpr int64_t kMaxBatch = 256;

Status AddPrompts(const BenchFlags& flags, BenchPlan& plan) {
  if (flags.prompts.empty()) return OkStatus();
  ARKVALE_ASSIGN_OR_RETURN(auto lengths, ParseNumbers("--prompts", flags.prompts, 1));
  std::sort(lengths.begin(), lengths.end());
  for (const int64_t n : lengths) {
    plan.cells.push_back({.decode = false, .n_tokens = n, .rounds = flags.rounds});
    plan.max_tokens = std::max(plan.max_tokens, n);
  }
  return OkStatus();
}

Status AddDepths(const BenchFlags& flags, BenchPlan& plan) {
  if (flags.depths.empty()) return OkStatus();
  ARKVALE_ASSIGN_OR_RETURN(auto depths, ParseNumbers("--depths", flags.depths, 1));
  ARKVALE_ASSIGN_OR_RETURN(auto batches, ParseNumbers("--batch", flags.batches, 1));
  std::sort(depths.begin(), depths.end());
  std::sort(batches.begin(), batches.end());
  if (batches.back() > kMaxBatch) {
    return InvalidArgument("--batch " + std::to_string(batches.back()) + ": use at most " + std::to_string(kMaxBatch));
  }
  plan.max_batch = static_cast<int32_t>(batches.back());
  for (const int64_t n : depths) {
    for (const int64_t batch : batches) {
      plan.cells.push_back(
          {.decode = true, .n_tokens = n, .batch = static_cast<int32_t>(batch), .rounds = flags.rounds});
    }
    plan.max_tokens = std::max(plan.max_tokens, n + flags.steps);
  }
  return OkStatus();
}

Status AddPolicies(const BenchFlags& flags, BenchPlan& plan) {
  ARKVALE_ASSIGN_OR_RETURN(KvOptions options, flags.kv.Get());
  ARKVALE_ASSIGN_OR_RETURN(const auto budgets, ParseNumbers("--budgets", flags.budgets, 0));
  for (const std::string& name : SplitCommas(flags.policies)) {
    ARKVALE_ASSIGN_OR_RETURN(options.policy, ParseKvPolicy(name));
    for (const int64_t budget : budgets) {
      options.budget_tokens = budget;
      plan.kv.push_back(options);
      if (options.policy == KvPolicyKind::kFull) break;
    }
  }
  if (flags.kv.plan_path().empty()) return OkStatus();
  ARKVALE_ASSIGN_OR_RETURN(plan.kv_plan, ReadPlan(flags.kv.plan_path()));
  ARKVALE_ASSIGN_OR_RETURN(plan.kv.emplace_back(), flags.kv.Get());
  return OkStatus();
}

Status CheckFill(const BenchFlags& flags) {
  if (flags.fill == "text") return OkStatus();
  if (!flags.random_fill()) return InvalidArgument("--fill '" + flags.fill + "' is unknown: use text or random");
  if (flags.peer.empty()) return OkStatus();
  return InvalidArgument("--fill random with --peer " + flags.peer +
                         ": only our engine can be given a context that no model computed; use --fill text");
}

}  // namespace

void BenchFlags::Add(Cli& cli) {
  auto& app = cli.app();
  const std::string group = "Measurement";
  const auto add = [&](const char* name, auto& value, const char* type, const char* text) {
    app.add_option(name, value, text)->type_name(type)->capture_default_str()->group(group);
  };
  add("--depths", depths, "N,...", "context lengths in tokens at which decode steps are timed; '' = none");
  add("--batch", batches, "N,...",
      "sequences stepped together at each depth, forks of one context; tokens/s are over all of them");
  add("--prompts", prompts, "N,...", "prompt lengths in tokens whose prefill is timed; '' = none");
  add("--policies", policies, "NAME,...", "our KV policies: full, arkvale, quest");
  add("--budgets", budgets, "N,...", "budgets in tokens, for policies that have one");
  add("--peer", peer, "NAME", "measure another engine beside ours, in turns: llama.cpp");
  add("--rounds", rounds, "N", "timed rounds, after one warm-up round");
  add("-n,--steps", steps, "N", "decode steps per round; the first one is dropped");
  add("--text", text, "FILE", "UTF-8 text for contexts and steps; repeated where it is too short");
  add("--fill", fill, "KIND",
      "how contexts come about: text = a prefill of the text, random = random K and V, for depths whose prefill takes "
      "too long (speed only; not with --peer)");
  app.add_flag("--memory", memory,
               "peak memory of each contender and cell, measured in a process of its own: needs the model's memory "
               "once more, and about half as much time again")
      ->group(group);
  app.add_flag("--json", json,
               "JSON lines: one row per contender and cell, then ratios, growth and machine. Times in ms, sizes in "
               "bytes, shares 0..1")
      ->group(group);
  app.add_flag("--quiet", quiet, "no progress on stderr")->group(group);
  app.add_option("--memory-run", memory_run)->group("");
  engine.Add(cli);
  kv.Add(cli, false);
  kv.AddPlan(cli, "one contender more: its policy with the per-layer budgets made by `arkvale plan`");
}

Result<BenchPlan> MakePlan(const BenchFlags& flags) {
  BenchPlan plan;
  if (flags.rounds < 1) return InvalidArgument("--rounds " + std::to_string(flags.rounds) + ": use 1 or more");
  if (flags.steps < 2) return InvalidArgument("--steps " + std::to_string(flags.steps) + ": use 2 or more");
  if (!flags.peer.empty() && flags.peer != "llama.cpp") {
    return InvalidArgument("--peer '" + flags.peer + "' is unknown: use llama.cpp");
  }
  if (flags.memory && flags.text == "-") {
    return InvalidArgument("--memory with --text -: other processes must read the text too; give a file");
  }
  ARKVALE_RETURN_IF_ERROR(CheckFill(flags));
  ARKVALE_RETURN_IF_ERROR(AddPrompts(flags, plan));
  ARKVALE_RETURN_IF_ERROR(AddDepths(flags, plan));
  if (plan.cells.empty()) return InvalidArgument("nothing to measure: give --depths or --prompts");
  ARKVALE_RETURN_IF_ERROR(AddPolicies(flags, plan));
  ARKVALE_ASSIGN_OR_RETURN(plan.engine, flags.engine.Get());
  return plan;
}

}  // namespace arkvale::tools
