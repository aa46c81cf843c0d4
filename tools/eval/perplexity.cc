// arkvale eval perplexity (evaluation protocol 4).
#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/sha256.h"
#include "engine/runtime.h"
#include "tools/common/interrupt.h"
#include "tools/common/text_input.h"
#include "tools/eval/divergence.h"
#include "tools/eval/eval_flags.h"
#include "tools/eval/lockstep.h"
#include "tools/eval/perplexity_report.h"
#include "tools/eval/record_runner.h"
#include "tools/eval/tasks.h"

namespace arkvale::tools {
namespace {

constexpr int64_t kMinChunkTokens = 4;
constexpr size_t kTextHashDigits = 8;

struct Flags {
  EvalFlags eval;
  std::string texts;
  int64_t chunk = 0;
};

struct Text {
  std::string name, sha256_prefix;
  std::vector<int32_t> ids = {};  // BOS first where the vocabulary adds it
  int64_t n_chunks = 0;           // that are run
};

struct Plan {
  std::vector<Text> texts = {};
  int64_t chunk_tokens = 0;
  std::vector<KvOptions> cells = {};  // dense first
  std::vector<NamedPlan> kv_plans = {};

  int64_t n_records() const {
    int64_t n = 0;
    for (const Text& text : texts) n += text.n_chunks;
    return n;
  }
};

void AddFlags(Cli& cli, Flags& flags) {
  const FlagGroup group(cli, "Chunks");
  cli.Require(group.Add("--text", flags.texts, "FILE,...", "UTF-8 texts", ""));
  group.Add("--chunk", flags.chunk, "C", "tokens of a chunk: the first half is prefilled, the rest fed step by step",
            "the preset's");
  flags.eval.AddLimit(group, "only the first chunks of each text", "the preset's");
  flags.eval.Add(cli);
  flags.eval.AddRunCells(cli);
}

Result<Text> ReadChunks(const Runtime& runtime, const std::string& path, int64_t chunk_tokens, int64_t limit) {
  ARKVALE_ASSIGN_OR_RETURN(const std::string bytes, ReadText(path, runtime.info().context_tokens));
  Text text{.name = std::filesystem::path(path).filename().string(),
            .sha256_prefix = Sha256Hex(bytes).substr(0, kTextHashDigits)};
  ARKVALE_ASSIGN_OR_RETURN(text.ids, runtime.tokenizer().Encode(bytes, true, false));
  const auto n = static_cast<int64_t>(text.ids.size());
  if (n < chunk_tokens) {
    return InvalidArgument("--text " + path + ": " + std::to_string(n) + " tokens < --chunk " +
                           std::to_string(chunk_tokens) + ": use a longer text or smaller chunks");
  }
  text.n_chunks = limit > 0 ? std::min(limit, n / chunk_tokens) : n / chunk_tokens;
  return text;
}

Result<Plan> MakePlan(const Flags& flags, const Runtime& runtime) {
  ARKVALE_ASSIGN_OR_RETURN(const Preset preset, flags.eval.preset());
  const int64_t ctx_tokens = runtime.ctx_tokens();
  Plan plan{.chunk_tokens = std::min<int64_t>(preset == Preset::kQuick ? 2048 : 4096, ctx_tokens)};
  if (flags.chunk != 0) plan.chunk_tokens = flags.chunk;
  if (plan.chunk_tokens < kMinChunkTokens || plan.chunk_tokens > ctx_tokens) {
    return InvalidArgument("--chunk " + std::to_string(plan.chunk_tokens) + ": use a number from " +
                           std::to_string(kMinChunkTokens) + " to " + std::to_string(ctx_tokens));
  }
  ARKVALE_ASSIGN_OR_RETURN(int64_t limit, flags.eval.limit());
  if (limit == 0) limit = preset == Preset::kQuick ? 2 : preset == Preset::kStandard ? 8 : 0;
  ARKVALE_ASSIGN_OR_RETURN(EvalCells cells, flags.eval.CellsAndPlans(PresetCells(preset, ctx_tokens), runtime));
  plan.cells = std::move(cells.options);
  plan.cells.insert(plan.cells.begin(), DenseOptions());
  plan.kv_plans = std::move(cells.plans);
  for (const std::string& path : SplitCommas(flags.texts)) {
    ARKVALE_ASSIGN_OR_RETURN(plan.texts.emplace_back(), ReadChunks(runtime, path, plan.chunk_tokens, limit));
  }
  return plan;
}

// Feeds ids[0..n-2], each of which should predict the next one.
Result<Json> MeasureSteps(Session& fork, std::span<const int32_t> ids) {
  std::vector<double> nll;
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    if (g_cancel) return Cancelled("interrupted");
    ARKVALE_RETURN_IF_ERROR(fork.Step(ids[i]));
    ARKVALE_ASSIGN_OR_RETURN(nll.emplace_back(), NextTokenNll(fork.logits(), ids[i + 1]));
  }
  return PerplexityResult(nll);
}

Status RunChunk(const RunInfo& info, const Text& text, const PerplexityChunk& chunk, const Tokenizer& tokenizer,
                RecordRunner& runner) {
  const auto begin = text.ids.begin() + chunk.start_token();
  std::vector<int32_t> ids(begin, begin + chunk.chunk_tokens);
  if (tokenizer.add_bos()) ids[0] = tokenizer.bos();
  const auto middle = ids.begin() + chunk.n_context();
  return runner.Run({
      .labels = [&](const KvOptions& options) { return PerplexityLabels(info, chunk, options); },
      .prompt =
          [&] {
            return RecordPrompt{{ids.begin(), middle}, {}, ""};
          },
      .judge = [&](const Answer&, const Json&) { return PerplexityPlace(chunk); },
      .measure =
          [&](Session& fork) {
            return MeasureSteps(fork, {middle, ids.end()});
          },
  });
}

Status Run(const Flags& flags) {
  ARKVALE_ASSIGN_OR_RETURN(const EngineOptions options, flags.eval.engine());
  ARKVALE_ASSIGN_OR_RETURN(const auto runtime, Runtime::Load(options));
  ARKVALE_ASSIGN_OR_RETURN(const Plan plan, MakePlan(flags, *runtime));
  ARKVALE_ASSIGN_OR_RETURN(RunInfo info, RunInfo::Make("perplexity", options, flags.eval.kv_opt(), runtime->threads()));
  info.plans = plan.kv_plans;
  ARKVALE_ASSIGN_OR_RETURN(const auto log, RecordLog::Open(flags.eval.out(), flags.eval.json(), true));
  const auto n_records = plan.n_records();
  RecordRunner runner(*runtime, *log, plan.cells, n_records, static_cast<double>(n_records), flags.eval.quiet());
  for (const Text& text : plan.texts) {
    for (int64_t k = 0; k < text.n_chunks; ++k) {
      const PerplexityChunk chunk{
          .text = text.name, .text_sha256_prefix = text.sha256_prefix, .chunk = k, .chunk_tokens = plan.chunk_tokens};
      ARKVALE_RETURN_IF_ERROR(RunChunk(info, text, chunk, runtime->tokenizer(), runner));
    }
  }
  const Json summary = PerplexitySummaryJson(info, plan.cells, runner.Finish());
  return log->Finish(summary, PerplexityTable(summary));
}

}  // namespace

int RunPerplexity(int argc, char** argv) {
  Cli cli("eval perplexity", "Feeds true texts step by step: perplexity under full attention first, then every cell.");
  Flags flags;
  AddFlags(cli, flags);
  return cli.Run(argc, argv, [&] { return Run(flags); });
}

}  // namespace arkvale::tools
