#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/machine.h"
#include "engine/runtime.h"
#include "text/tokenizer.h"
#include "tools/bench/growth.h"
#include "tools/bench/machine_speed.h"
#include "tools/bench/memory_run.h"
#include "tools/bench/own_engine.h"
#include "tools/bench/peer_llama.h"
#include "tools/bench/plan.h"
#include "tools/bench/report.h"
#include "tools/bench/rows.h"
#include "tools/common/commands.h"
#include "tools/common/exit_code.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/common/text_input.h"

namespace arkvale::tools {
namespace {

using Arguments = std::vector<std::string>;

// Tokens that a cell feeds: context or prompt, then steps.
size_t CellTokens(const BenchFlags& flags, const Cell& cell) {
  return static_cast<size_t>(cell.n_tokens + (cell.decode ? flags.steps : 0));
}

// The text's ids, as many as the longest context needs.
Result<std::vector<int32_t>> ReadIds(const BenchFlags& flags, const Tokenizer& tokenizer, int64_t n_tokens) {
  constexpr int64_t kMaxTextTokens = int64_t{1} << 22;
  ARKVALE_ASSIGN_OR_RETURN(const std::string text, ReadText(flags.text, kMaxTextTokens));
  ARKVALE_ASSIGN_OR_RETURN(auto ids, tokenizer.Encode(text, true, false));
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

Result<std::unique_ptr<Contender>> MakePeer(const BenchPlan& plan, const PeerOptions& options) {
  ARKVALE_ASSIGN_OR_RETURN(auto peer, PeerLlama::Load(plan.engine.model_path, options));
  return std::unique_ptr<Contender>(std::move(peer));
}

PeerOptions PeerOptionsOf(const BenchFlags& flags, const BenchPlan& plan, int32_t threads) {
  return {.threads = threads,
          .max_tokens = plan.max_tokens,
          .max_batch = plan.max_batch,
          .steps = flags.steps,
          .kv_type = plan.engine.kv_type};
}

// `which`: of plan.kv.
Result<std::unique_ptr<Contender>> MakeOwn(const BenchFlags& flags, const BenchPlan& plan, size_t which,
                                           OwnContext& context) {
  const Runtime& runtime = context.runtime();
  const ModelInfo& model = runtime.info();
  KvOptions options = plan.kv[which];
  std::string plan_name;
  if (plan.kv_plan && which + 1 == plan.kv.size()) {
    const auto apply = [&](std::string_view text, KvOptions& o) { return runtime.ApplyPlan(text, o); };
    ARKVALE_ASSIGN_OR_RETURN(options, flags.kv.WithPlan(*plan.kv_plan, options, apply));
    plan_name = plan.kv_plan->name;
  }
  ARKVALE_RETURN_IF_ERROR(options.Validate(model.n_layers, model.n_kv_heads));
  return std::unique_ptr<Contender>(
      std::make_unique<OwnContender>(context, RoundBudget(std::move(options)), std::move(plan_name)));
}

// The peer first, then ours.
Result<Contenders> MakeContenders(const BenchFlags& flags, const BenchPlan& plan, OwnContext& context) {
  Contenders contenders;
  if (!flags.peer.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(auto peer, MakePeer(plan, PeerOptionsOf(flags, plan, context.runtime().threads())));
    contenders.push_back(std::move(peer));
  }
  for (size_t i = 0; i < plan.kv.size(); ++i) {
    ARKVALE_ASSIGN_OR_RETURN(auto own, MakeOwn(flags, plan, i, context));
    contenders.push_back(std::move(own));
  }
  return contenders;
}

Status MeasureMemory(const Arguments& arguments, size_t cell, const Contenders& contenders,
                     std::vector<Measured>& measured) {
  for (size_t c = 0; c < contenders.size(); ++c) {
    const MemoryRun run{.cell = cell, .contender = c, .setting = contenders[c]->setting()};
    Arguments with_run = arguments;
    with_run.insert(with_run.end(), {"--memory-run", run.ToString()});
    ARKVALE_ASSIGN_OR_RETURN(measured[c].rss_peak_bytes, RunForMemory(with_run));
  }
  return OkStatus();
}

// What the cells' rows leave for the end.
struct Summary {
  Json ratios = Json::array();
  GrowthLog growth;
};

Status Print(bool json, const Cell& cell, const std::vector<Measured>& measured, const std::vector<Ratio>& ratios,
             const Yardstick& yardstick) {
  std::vector<Json> rows;
  std::string lines;
  for (const Measured& m : measured) {
    rows.push_back(RowJson(cell, m, measured.front(), yardstick));
    lines += Dump(rows.back());
  }
  return Stdout().Write(json ? lines : CellTable(cell, measured, rows, ratios));
}

Status Measure(const BenchFlags& flags, const Arguments& arguments, const BenchPlan& plan, const Contenders& contenders,
               std::span<const int32_t> ids, const Yardstick& yardstick, Summary& summary) {
  Progress progress(flags.quiet);
  for (size_t i = 0; i < plan.cells.size(); ++i) {
    const Cell& cell = plan.cells[i];
    const auto total = static_cast<int64_t>(contenders.size()) * (cell.rounds + 1);
    int64_t done = 0;
    progress.Show(cell.name(), done, total, "samples");
    ARKVALE_ASSIGN_OR_RETURN(auto measured, RunCell(cell, contenders, ids.first(CellTokens(flags, cell)),
                                                    [&] { progress.Show(cell.name(), ++done, total, "samples"); }));
    if (flags.memory) ARKVALE_RETURN_IF_ERROR(MeasureMemory(arguments, i, contenders, measured));
    progress.Clear();
    const auto ratios = Ratios(measured);
    for (const Ratio& ratio : ratios) summary.ratios.push_back(RatioJson(cell, ratio));
    summary.growth.Add(cell, measured, ratios);
    ARKVALE_RETURN_IF_ERROR(Print(flags.json, cell, measured, ratios, yardstick));
  }
  return OkStatus();
}

Status CheckDepths(const BenchPlan& plan, const Runtime& runtime) {
  if (plan.max_tokens <= runtime.ctx_tokens()) return OkStatus();
  return InvalidArgument("context " + std::to_string(plan.max_tokens) + " tokens (steps counted) > limit " +
                         std::to_string(runtime.ctx_tokens()) + ": use smaller --depths, --prompts or --steps");
}

Status RunOnce(const Cell& cell, Contender& contender, std::span<const int32_t> ids) {
  const auto depth = static_cast<size_t>(cell.n_tokens);
  if (!cell.decode) return contender.Prefill(ids).status();
  ARKVALE_RETURN_IF_ERROR(contender.SetContext(ids.first(depth)));
  return contender.Decode(ids.subspan(depth), cell.batch).status();
}

// The peer's memory without ours: of our engine only the tokenizer is loaded. The file has been checked by the process
// that started this one.
Status RunPeerOnce(const BenchFlags& flags, const BenchPlan& plan, const Cell& cell, int32_t setting) {
  const int32_t threads = plan.engine.threads > 0 ? plan.engine.threads : PhysicalCores();
  PeerOptions options = PeerOptionsOf(flags, plan, threads);
  options.max_tokens = static_cast<int64_t>(CellTokens(flags, cell));
  options.max_batch = cell.batch;
  options.setting = setting;
  std::vector<int32_t> ids;
  {
    ARKVALE_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(plan.engine.model_path));
    ARKVALE_ASSIGN_OR_RETURN(ids, ReadIds(flags, *tokenizer, options.max_tokens));
  }
  ARKVALE_ASSIGN_OR_RETURN(const auto peer, MakePeer(plan, options));
  return RunOnce(cell, *peer, ids);
}

Status RunOwnOnce(const BenchFlags& flags, const BenchPlan& plan, const Cell& cell, size_t which) {
  ARKVALE_ASSIGN_OR_RETURN(const auto runtime, Runtime::Load(plan.engine));
  ARKVALE_ASSIGN_OR_RETURN(const auto ids,
                           ReadIds(flags, runtime->tokenizer(), static_cast<int64_t>(CellTokens(flags, cell))));
  OwnContext context(*runtime, flags.random_fill() ? Fill::kRandom : Fill::kText);
  ARKVALE_ASSIGN_OR_RETURN(const auto own, MakeOwn(flags, plan, which, context));
  return RunOnce(cell, *own, ids);
}

// --memory-run: one contender does one cell once.
Status RunForOneCell(const BenchFlags& flags, const BenchPlan& plan) {
  ARKVALE_ASSIGN_OR_RETURN(const MemoryRun run, MemoryRun::Parse(flags.memory_run));
  const size_t n_peers = flags.peer.empty() ? 0 : 1;
  if (run.cell >= plan.cells.size() || run.contender >= n_peers + plan.kv.size()) {
    return InvalidArgument("--memory-run '" + flags.memory_run + "': there is no such cell or contender");
  }
  const Cell& cell = plan.cells[run.cell];
  ARKVALE_RETURN_IF_ERROR(run.contender < n_peers ? RunPeerOnce(flags, plan, cell, run.setting)
                                                  : RunOwnOnce(flags, plan, cell, run.contender - n_peers));
  return Stdout().Write(Dump(MemoryJson()));
}

Status Run(const BenchFlags& flags, const Arguments& arguments) {
  ARKVALE_ASSIGN_OR_RETURN(const BenchPlan plan, MakePlan(flags));
  if (!flags.memory_run.empty()) return RunForOneCell(flags, plan);
  const double load = LoadPerCore();
  ARKVALE_ASSIGN_OR_RETURN(const auto runtime, Runtime::Load(plan.engine));
  ARKVALE_RETURN_IF_ERROR(CheckDepths(plan, *runtime));
  ARKVALE_ASSIGN_OR_RETURN(const auto ids, ReadIds(flags, runtime->tokenizer(), plan.max_tokens));
  OwnContext context(*runtime, flags.random_fill() ? Fill::kRandom : Fill::kText);
  ARKVALE_ASSIGN_OR_RETURN(const Contenders contenders, MakeContenders(flags, plan, context));
  WarnAboutTiming(load);
  const MachineSpeed speed = MeasureMachine(*runtime->op_context().pool);
  Summary summary;
  ARKVALE_RETURN_IF_ERROR(Measure(flags, arguments, plan, contenders, ids,
                                  {.speed = speed, .model = &runtime->transformer().config()}, summary));
  ARKVALE_ASSIGN_OR_RETURN(const Json machine, RunJson({.threads = runtime->threads(),
                                                        .speed = speed,
                                                        .load_per_core = load,
                                                        .model_path = plan.engine.model_path,
                                                        .peer = !flags.peer.empty()}));
  std::vector<Json> growth;
  for (const Growth& g : summary.growth.Result()) growth.push_back(GrowthJson(g));
  return Stdout().Write(flags.json ? Dump({{"ratios", summary.ratios}, {"growth", growth}, {"machine", machine}})
                                   : GrowthTable(growth) + MachineLines(machine));
}

}  // namespace

int RunBench(int argc, char** argv) {
  Cli cli("bench", "Measures prefill and decode speed under KV policies, beside llama.cpp if wanted.");
  BenchFlags flags;
  flags.Add(cli);
  if (const auto exit_code = cli.Parse(argc, argv)) return *exit_code;
  // As a process of its own would be called: main has taken the binary's name.
  Arguments arguments = {"arkvale", "bench"};
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  const Status status = Run(flags, arguments);
  return status.ok() ? kExitDone : cli.Fail(status);
}

}  // namespace arkvale::tools
