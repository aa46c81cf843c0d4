#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "engine/runtime.h"
#include "tools/bench/own_engine.h"
#include "tools/bench/peer_llama.h"
#include "tools/bench/report.h"
#include "tools/bench/rounds.h"
#include "tools/common/cli.h"
#include "tools/common/commands.h"
#include "tools/common/exit_code.h"
#include "tools/common/kv_flags.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/common/text_input.h"

namespace arkvale::tools {
namespace {

struct Flags {
  EngineFlags engine;
  KvFlags kv;
  std::string prompts, depths = "128,2048", policies = "full,arkvale", budgets = "1024", peer,
                       text = "tests/data/frankenstein_excerpt.txt";
  int32_t rounds = 3, steps = 32;
  bool json = false, quiet = false;
};

void AddFlags(Cli& cli, Flags& flags) {
  auto& app = cli.app();
  const std::string group = "Measurement";
  const auto add = [&](const char* name, auto& value, const char* type, const char* text) {
    return app.add_option(name, value, text)->type_name(type)->capture_default_str()->group(group);
  };
  add("--depths", flags.depths, "N,...", "context lengths in tokens at which decode steps are timed; '' = none");
  add("--prompts", flags.prompts, "N,...", "prompt lengths in tokens whose prefill is timed; '' = none");
  add("--policies", flags.policies, "NAME,...", "our KV policies: full, arkvale");
  add("--budgets", flags.budgets, "N,...", "budgets in tokens, for policies that have one");
  add("--peer", flags.peer, "NAME", "measure another engine beside ours, in turns: llama.cpp");
  add("--rounds", flags.rounds, "N", "timed rounds, after one warm-up round");
  add("-n,--steps", flags.steps, "N", "decode steps per round; the first one is dropped");
  add("--text", flags.text, "FILE", "UTF-8 text for contexts and steps; repeated where it is too short");
  app.add_flag("--json", flags.json, "JSON lines: one row per contender and cell, then ratios and machine")
      ->group(group);
  app.add_flag("--quiet", flags.quiet, "no progress on stderr")->group(group);
  flags.engine.Add(cli);
  flags.kv.Add(cli, false);
}

// The flags, understood.
struct Plan {
  EngineOptions engine;
  std::vector<Cell> cells;  // prompts first, then depths, each ascending: contexts extend one another
  std::vector<KvOptions> kv;
  int64_t max_tokens = 0;  // longest context of all cells
};

Status AddCells(const Flags& flags, const std::string& name, const std::string& list, bool decode, Plan& plan) {
  if (list.empty()) return OkStatus();
  ARKVALE_ASSIGN_OR_RETURN(auto lengths, ParseNumbers(name, list, 1));
  std::sort(lengths.begin(), lengths.end());
  for (const int64_t n : lengths) {
    plan.cells.push_back({.decode = decode, .n_tokens = n, .rounds = flags.rounds});
    plan.max_tokens = std::max(plan.max_tokens, n + (decode ? flags.steps : 0));
  }
  return OkStatus();
}

Status AddPolicies(const Flags& flags, Plan& plan) {
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
  return OkStatus();
}

Result<Plan> MakePlan(const Flags& flags) {
  Plan plan;
  if (flags.rounds < 1) return InvalidArgument("--rounds " + std::to_string(flags.rounds) + ": use 1 or more");
  if (flags.steps < 2) return InvalidArgument("--steps " + std::to_string(flags.steps) + ": use 2 or more");
  if (!flags.peer.empty() && flags.peer != "llama.cpp") {
    return InvalidArgument("--peer '" + flags.peer + "' is unknown: use llama.cpp");
  }
  ARKVALE_RETURN_IF_ERROR(AddCells(flags, "--prompts", flags.prompts, false, plan));
  ARKVALE_RETURN_IF_ERROR(AddCells(flags, "--depths", flags.depths, true, plan));
  if (plan.cells.empty()) return InvalidArgument("nothing to measure: give --depths or --prompts");
  ARKVALE_RETURN_IF_ERROR(AddPolicies(flags, plan));
  ARKVALE_ASSIGN_OR_RETURN(plan.engine, flags.engine.Get());
  return plan;
}

// The text's ids, as many as the longest context needs.
Result<std::vector<int32_t>> ReadIds(const Flags& flags, const Runtime& runtime, int64_t n_tokens) {
  ARKVALE_ASSIGN_OR_RETURN(const std::string text, ReadText(flags.text, runtime.info().context_tokens));
  ARKVALE_ASSIGN_OR_RETURN(auto ids, runtime.tokenizer().Encode(text, true, false));
  const auto n_text = static_cast<int64_t>(ids.size());
  if (n_text == 0) return InvalidArgument("--text " + flags.text + " is empty: give a text");
  if (n_text < n_tokens) {
    std::fprintf(stderr, "the text has %lld tokens: repeated to reach %lld\n", static_cast<long long>(n_text),
                 static_cast<long long>(n_tokens));
  }
  ids.resize(n_tokens);
  for (int64_t i = n_text; i < n_tokens; ++i) ids[i] = ids[i - n_text];
  return ids;
}

Result<Contenders> MakeContenders(const Flags& flags, const Plan& plan, OwnContext& context) {
  Contenders contenders;
  if (!flags.peer.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(auto peer,
                             PeerLlama::Load(plan.engine.model_path, context.runtime().threads(), plan.max_tokens));
    contenders.push_back(std::move(peer));
  }
  const ModelInfo& model = context.runtime().info();
  for (const KvOptions& options : plan.kv) {
    ARKVALE_RETURN_IF_ERROR(options.Validate(model.n_layers, model.n_kv_heads));
    contenders.push_back(std::make_unique<OwnContender>(context, RoundBudget(options)));
  }
  return contenders;
}

std::string CellName(const Cell& cell) {
  return (cell.decode ? "decode at " : "prefill of ") + std::to_string(cell.n_tokens);
}

Status Measure(const Flags& flags, const Plan& plan, const Contenders& contenders, const std::vector<int32_t>& ids,
               Json& ratios) {
  Progress progress(flags.quiet);
  for (const Cell& cell : plan.cells) {
    const auto total = static_cast<int64_t>(contenders.size()) * (cell.rounds + 1);
    int64_t done = 0;
    progress.Show(CellName(cell), done, total, "samples");
    const size_t n_ids = cell.n_tokens + (cell.decode ? flags.steps : 0);
    ARKVALE_ASSIGN_OR_RETURN(const auto measured, RunCell(cell, contenders, std::span(ids).first(n_ids), [&] {
                               progress.Show(CellName(cell), ++done, total, "samples");
                             }));
    progress.Clear();
    const auto cell_ratios = Ratios(measured);
    for (const Ratio& ratio : cell_ratios) ratios.push_back(RatioJson(cell, ratio));
    ARKVALE_RETURN_IF_ERROR(
        Stdout().Write(flags.json ? CellJsonLines(cell, measured) : CellTable(cell, measured, cell_ratios)));
  }
  return OkStatus();
}

std::string MachineLine(const Json& machine) {
  return "machine: " + machine["cpu"].get<std::string>() + ", " + machine["threads"].dump() + " threads on " +
         machine["cores"].dump() + " cores, " + machine["compiler"].get<std::string>() + ", " +
         machine["build_type"].get<std::string>() + "\n";
}

Status Run(const Flags& flags) {
  ARKVALE_ASSIGN_OR_RETURN(const Plan plan, MakePlan(flags));
  ARKVALE_ASSIGN_OR_RETURN(const auto runtime, Runtime::Load(plan.engine));
  if (plan.max_tokens > runtime->ctx_tokens()) {
    return InvalidArgument("context " + std::to_string(plan.max_tokens) + " tokens (steps counted) > limit " +
                           std::to_string(runtime->ctx_tokens()) + ": use smaller --depths, --prompts or --steps");
  }
  ARKVALE_ASSIGN_OR_RETURN(const auto ids, ReadIds(flags, *runtime, plan.max_tokens));
  OwnContext context(*runtime);
  ARKVALE_ASSIGN_OR_RETURN(const Contenders contenders, MakeContenders(flags, plan, context));
  WarnAboutTiming();
  Json ratios = Json::array();
  ARKVALE_RETURN_IF_ERROR(Measure(flags, plan, contenders, ids, ratios));
  const Json machine = MachineJson(runtime->threads());
  return Stdout().Write(flags.json ? Dump({{"ratios", ratios}, {"machine", machine}}) : MachineLine(machine));
}

}  // namespace

int RunBench(int argc, char** argv) {
  Cli cli("bench", "Measures prefill and decode speed under KV policies, beside llama.cpp if wanted.");
  Flags flags;
  AddFlags(cli, flags);
  if (const auto exit_code = cli.Parse(argc, argv)) return *exit_code;
  const Status status = Run(flags);
  return status.ok() ? kExitDone : cli.Fail(status);
}

}  // namespace arkvale::tools
