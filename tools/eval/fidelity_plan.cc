#include "tools/eval/fidelity_plan.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/sha256.h"
#include "tools/common/text_input.h"
#include "tools/eval/lockstep.h"

namespace arkvale::tools {
namespace {

constexpr int64_t kMinChunkTokens = 4;
constexpr size_t kTextHashDigits = 8;

// Sizes of evaluation protocol 0.7.
Status ApplyPreset(const FidelityFlags& flags, Preset preset, int64_t ctx_tokens, FidelityPlan& plan) {
  const bool quick = preset == Preset::kQuick;
  plan.windows = flags.windows > 0 ? flags.windows : quick ? 2 : 8;
  plan.steps = flags.steps > 0 ? flags.steps : quick ? 64 : 512;
  const bool large = ctx_tokens > 8192;
  plan.contexts = {quick ? 2048 : large ? 16384 : 7168};
  if (preset == Preset::kFull) {
    plan.contexts = {1024, 2048, 4096, 7168};
    if (large) plan.contexts.push_back(16384);
  }
  if (!flags.contexts.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(plan.contexts, ParseNumbers("--context", flags.contexts, 1));
  }
  return OkStatus();
}

Status ApplyChunks(const FidelityFlags& flags, int64_t ctx_tokens, FidelityPlan& plan) {
  plan.chunk_tokens = flags.llama_chunks;
  if (plan.chunk_tokens < kMinChunkTokens || plan.chunk_tokens > ctx_tokens) {
    return InvalidArgument("--llama-chunks " + std::to_string(plan.chunk_tokens) + ": use a number from " +
                           std::to_string(kMinChunkTokens) + " to " + std::to_string(ctx_tokens));
  }
  plan.windows = flags.windows;
  plan.contexts = {ChunkContext(plan.chunk_tokens)};
  plan.steps = ChunkSteps(plan.chunk_tokens);
  return OkStatus();
}

Status CheckSizes(const FidelityPlan& plan, int64_t ctx_tokens) {
  const int64_t fed = std::max(plan.steps, plan.copy ? kCopySteps : 0);
  for (const int64_t n : plan.contexts) {
    if (n + fed > ctx_tokens) {
      return InvalidArgument("context " + std::to_string(n) + " + " + std::to_string(fed) + " steps > limit " +
                             std::to_string(ctx_tokens) + ": use a smaller --context or --steps");
    }
    if (plan.copy && n < 2 * kCopySteps) {
      return InvalidArgument("--context " + std::to_string(n) + " < " + std::to_string(2 * kCopySteps) +
                             ", what --copy needs: use a larger one");
    }
  }
  return OkStatus();
}

// start_token of the windows of one text.
Result<std::vector<int64_t>> Starts(const FidelityPlan& plan, const std::string& path, int64_t n_text, int64_t n_ids,
                                    bool bos) {
  if (plan.chunk_tokens > 0) {
    auto starts = ChunkStarts(n_text, bos, plan.chunk_tokens, plan.windows);
    if (!starts.empty()) return starts;
    return InvalidArgument("--text " + path + ": " + std::to_string(n_text) +
                           " tokens make no chunk of --llama-chunks " + std::to_string(plan.chunk_tokens) +
                           ": use a longer text or smaller chunks");
  }
  if (n_text >= n_ids) return SpreadStarts(plan.windows, n_text, n_ids);
  return InvalidArgument("--text " + path + ": " + std::to_string(n_text) + " tokens < context + steps + 1 = " +
                         std::to_string(n_ids) + ": use a longer text or a smaller --context");
}

Status AddText(const std::string& path, const Runtime& runtime, FidelityPlan& plan) {
  ARKVALE_ASSIGN_OR_RETURN(const std::string bytes, ReadText(path, runtime.info().context_tokens));
  const Tokenizer& tokenizer = runtime.tokenizer();
  auto& ids = plan.texts.emplace_back();
  ARKVALE_ASSIGN_OR_RETURN(ids, tokenizer.Encode(bytes, false, false));
  SegmentInfo window{.text = std::filesystem::path(path).filename().string(),
                     .text_sha256_prefix = Sha256Hex(bytes).substr(0, kTextHashDigits),
                     .n_steps = plan.steps};
  for (const PlannedWindow& earlier : plan.planned) {
    if (earlier.info.text == window.text && earlier.info.text_sha256_prefix == window.text_sha256_prefix) {
      return InvalidArgument("--text " + path + " is there already: name each text once");
    }
  }
  for (size_t i = 0; i < plan.contexts.size(); ++i) {
    window.context_tokens = plan.contexts[i];
    ARKVALE_ASSIGN_OR_RETURN(const auto starts, Starts(plan, path, static_cast<int64_t>(ids.size()),
                                                       window.context_tokens + plan.steps + 1, tokenizer.add_bos()));
    for (window.window = 0; window.window < static_cast<int64_t>(starts.size()); ++window.window) {
      window.start_token = starts[window.window];
      plan.planned.push_back({.text = plan.texts.size() - 1, .context = i, .info = window});
    }
  }
  return OkStatus();
}

}  // namespace

void FidelityFlags::Add(Cli& cli) {
  const FlagGroup group(cli, "Windows");
  cli.Require(group.Add("--text", texts, "FILE,...", "UTF-8 texts; --preset quick uses the first one", ""));
  group.Add("--context", contexts, "N,...", "tokens prefilled before the steps, each a cell", "the preset's");
  group.Add("--steps", steps, "M", "steps compared in each window", "the preset's");
  group.Add("--windows", windows, "W", "windows of each text, spread from its start to its end", "the preset's");
  group.AddSwitch("--copy", copy, "beside each window, two runs that repeat a passage of its own context");
  group.Add(
      "--llama-chunks", llama_chunks, "C",
      "in place of these windows, consecutive chunks of C tokens as llama.cpp's perplexity program cuts them: the "
      "first half is prefilled; --windows: only the first ones",
      "none");
  group.Add("--steps-out", steps_out, "FILE", "JSON lines, one per step", "none");
  eval.Add(cli);
  eval.AddRunCells(cli);
}

Status FidelityFlags::Check() const {
  if (steps < 0) return InvalidArgument("--steps " + std::to_string(steps) + ": use 1 or more");
  if (windows < 0) return InvalidArgument("--windows " + std::to_string(windows) + ": use 1 or more");
  if (llama_chunks == 0) return OkStatus();
  const char* other = !contexts.empty() ? "--context" : steps > 0 ? "--steps" : copy ? "--copy" : nullptr;
  if (other == nullptr) return OkStatus();
  return InvalidArgument("--llama-chunks with " + std::string(other) + ": a chunk fixes its context and steps, leave " +
                         other + " out");
}

Result<FidelityPlan> MakeFidelityPlan(const FidelityFlags& flags, const Runtime& runtime) {
  ARKVALE_ASSIGN_OR_RETURN(const Preset preset, flags.eval.preset());
  FidelityPlan plan;
  plan.copy = flags.copy;
  const int64_t ctx_tokens = runtime.ctx_tokens();
  ARKVALE_RETURN_IF_ERROR(flags.llama_chunks != 0 ? ApplyChunks(flags, ctx_tokens, plan)
                                                  : ApplyPreset(flags, preset, ctx_tokens, plan));
  ARKVALE_RETURN_IF_ERROR(CheckSizes(plan, ctx_tokens));
  ARKVALE_ASSIGN_OR_RETURN(EvalCells eval, flags.eval.CellsAndPlans(PresetCells(preset, ctx_tokens), runtime));
  const std::vector<KvOptions>& cells = eval.options;
  plan.kv_plans = std::move(eval.plans);
  plan.floor = FloorOptions(cells.empty() ? KvOptions() : cells.front());
  plan.cells = {DenseOptions()};
  if (runtime.kv_type() != KvType::kF16) plan.cells.push_back(DenseOptions());
  plan.cells.insert(plan.cells.end(), cells.begin(), cells.end());
  auto texts = SplitCommas(flags.texts);
  if (preset == Preset::kQuick) texts.resize(1);
  for (const std::string& path : texts) ARKVALE_RETURN_IF_ERROR(AddText(path, runtime, plan));
  return plan;
}

}  // namespace arkvale::tools
