// What every eval task is told: model, cells (policy x budget x page x digest x zone), preset, output.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arkvale/engine.h"
#include "arkvale/kv_options.h"
#include "engine/runtime.h"
#include "tools/common/cli.h"
#include "tools/common/kv_flags.h"
#include "tools/common/plan_input.h"
#include "tools/eval/records.h"

namespace arkvale::tools {

// Sizes of evaluation protocol 0.7; a flag that is given wins over its preset.
enum class Preset : uint8_t { kQuick, kStandard, kFull };

// What a preset says of the cells. Combinations that no budget can serve are left out.
struct CellPreset {
  std::vector<KvPolicyKind> policies;
  std::vector<int64_t> budgets;
  std::vector<int32_t> pages;
  std::vector<DigestKind> digests = {};  // empty: --kv-digest
};

struct EvalCells {
  std::vector<KvOptions> options;  // those of plans last
  std::vector<NamedPlan> plans;    // for RunInfo
};

class EvalFlags {
 public:
  void Add(Cli& cli);
  // --feed, for tasks that ask questions.
  void AddFeed(const FlagGroup& group);
  // --limit, for tasks with records. `text`: what it counts; `shown`: how many --help says there are without it.
  void AddLimit(const FlagGroup& group, const char* text, const char* shown);

  // --zones and --plans, for tasks that do not only rank pages but run their cells.
  void AddRunCells(Cli& cli);

  Result<EngineOptions> engine() const { return engine_.Get(); }
  Result<Preset> preset() const;
  Result<Feeding> feeding() const { return ParseFeeding(feed_); }
  // 0: not given.
  Result<int64_t> limit() const;
  // One cell per valid combination, without full attention, which every task runs anyway. Budgets are rounded.
  // InvalidArgument where a list names what does not fit the model.
  Result<std::vector<KvOptions>> Cells(const CellPreset& preset, const ModelInfo& model) const;
  // Those, then one per plan and, of an arkvale plan, digest and zone: its page size is the plan's. Errors as
  // Engine::ApplyPlan;
  // InvalidArgument where a flag contradicts a plan, or two plans are the same.
  Result<EvalCells> CellsAndPlans(const CellPreset& preset, const Runtime& runtime) const;
  Result<EvalCells> CellsAndPlans(const CellPreset& preset, const ModelInfo& model, const ApplyPlanText& apply) const;
  // The --kv-opt text, for records.
  std::string kv_opt() const;

  const std::string& out() const { return out_; }
  bool json() const { return json_; }
  bool quiet() const { return quiet_; }

 private:
  // What a cell knows of pages that it does not read: `base` with each digest and zone.
  Result<std::vector<KvOptions>> Summaries(const CellPreset& preset, const KvOptions& base) const;
  Result<NamedPlan> PlanCells(const PlanInput& plan, const std::vector<KvOptions>& summaries,
                              const ApplyPlanText& apply) const;

  EngineFlags engine_;
  KvFlags kv_;
  std::string preset_ = "quick", policies_, budgets_, pages_, digests_, zones_, plans_, out_,
              feed_ = FeedingName(Feeding::kThreeStage);
  int64_t limit_ = 0;
  const CLI::Option* kv_opt_ = nullptr;
  const CLI::Option* limit_option_ = nullptr;  // of tasks that have one
  bool json_ = false, quiet_ = false;
};

// Leaves the first `limit` of `records`; 0: all.
template <typename T>
void KeepFirst(int64_t limit, std::vector<T>& records) {
  if (limit > 0 && limit < static_cast<int64_t>(records.size())) records.erase(records.begin() + limit, records.end());
}

// The grid of evaluation protocol 0.7 for a model of this longest context, and the cells that its presets share.
std::vector<int64_t> LengthGrid(int64_t context_tokens);
CellPreset PresetCells(Preset preset, int64_t context_tokens);

}  // namespace arkvale::tools
