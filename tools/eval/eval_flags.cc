#include "tools/eval/eval_flags.h"

#include <algorithm>
#include <utility>

namespace arkvale::tools {
namespace {

// Contexts of more than this have the larger grids.
constexpr int64_t kSmallContextTokens = 8192;

template <typename T, typename Parse>
Status ParseList(const std::string& text, const Parse& parse, std::vector<T>& values) {
  if (text.empty()) return OkStatus();
  values.clear();
  for (const std::string& name : SplitCommas(text)) {
    ARKVALE_ASSIGN_OR_RETURN(const T value, parse(name));
    values.push_back(value);
  }
  return OkStatus();
}

// "0", "1024", "all" or "1024:4": zone[:zone-v] of --kv-opt.
Status SetZone(const std::string& text, KvOptions& options) {
  const size_t colon = text.find(':');
  ARKVALE_RETURN_IF_ERROR(SetKvOption(options, "zone", text.substr(0, colon)));
  return colon == std::string::npos ? OkStatus() : SetKvOption(options, "zone-v", text.substr(colon + 1));
}

}  // namespace

void EvalFlags::Add(Cli& cli) {
  const FlagGroup group(cli, "Cells and output");
  group.Add("--preset", preset_, "NAME", "sizes that no other flag gives: quick, standard or full", "quick");
  group.Add("--policies", policies_, "NAME,...", "policies, each a cell; full attention always runs", "the preset's");
  group.Add("--budgets", budgets_, "N,...", "hot tokens per layer, each a cell", "the preset's");
  group.Add("--pages", pages_, "N,...", "tokens per page, each a cell", "--kv-page, or the preset's");
  group.Add("--digests", digests_, "NAME,...", "page summaries, each a cell", "--kv-digest, or the preset's");
  group.Add("--out", out_, "DIR", "folder that gets records.jsonl, summary.json and summary.md", "none");
  group.AddSwitch("--json", json_, "JSON lines: one record each, then the summary");
  group.AddSwitch("--quiet", quiet_, "no progress on stderr");
  engine_.Add(cli);
  kv_.Add(cli, false);
  kv_opt_ = FindOption(cli, "--kv-opt");
}

void EvalFlags::AddFeed(const FlagGroup& group) {
  group.Add("--feed", feed_, "NAME",
            "3stage: the question step by step under the policy; joint: prefilled with the context, so that policies "
            "have seen it when they evict",
            "3stage");
}

void EvalFlags::AddRunCells(Cli& cli) {
  const FlagGroup group(cli, "Cells and output");
  group.Add("--zones", zones_, "N,...",
            "tokens that a step estimates from the codes of code2, each a cell: 0, N or all; N:4 with V in 4 bits",
            "--kv-opt zone");
  group.Add("--plans", plans_, "FILE,...", "per-layer budgets made by `arkvale plan`, each a cell of its policy",
            "none");
}

void EvalFlags::AddLimit(const FlagGroup& group, const char* text, const char* shown) {
  limit_option_ = group.Add("--limit", limit_, "N", text, shown);
}

Result<int64_t> EvalFlags::limit() const {
  if (Given(limit_option_) && limit_ < 1)
    return InvalidArgument("--limit " + std::to_string(limit_) + ": use 1 or more");
  return limit_;
}

std::string EvalFlags::kv_opt() const { return GivenText(kv_opt_); }

Result<Preset> EvalFlags::preset() const {
  if (preset_ == "quick") return Preset::kQuick;
  if (preset_ == "standard") return Preset::kStandard;
  if (preset_ == "full") return Preset::kFull;
  return InvalidArgument("--preset '" + preset_ + "' is unknown: use quick, standard or full");
}

Result<std::vector<KvOptions>> EvalFlags::Summaries(const CellPreset& preset, const KvOptions& base) const {
  std::vector<DigestKind> digests = preset.digests.empty() ? std::vector{base.digest} : preset.digests;
  ARKVALE_RETURN_IF_ERROR(ParseList(digests_, ParseDigest, digests));
  const bool codes = std::find(digests.begin(), digests.end(), DigestKind::kCode2) != digests.end();
  std::vector<KvOptions> summaries;
  for (const DigestKind digest : digests) {
    KvOptions summary = base;
    summary.digest = digest;
    if (zones_.empty()) summaries.push_back(summary);
    for (const std::string& zone : zones_.empty() ? std::vector<std::string>{} : SplitCommas(zones_)) {
      ARKVALE_RETURN_IF_ERROR(SetZone(zone, summary));
      // Other digests stand beside code2 without a zone; without code2 Validate says why a zone cannot be.
      if (summary.zone_tokens == 0 || digest == DigestKind::kCode2 || !codes) summaries.push_back(summary);
      summary.zone_value_bits = base.zone_value_bits;
    }
  }
  return summaries;
}

Result<std::vector<KvOptions>> EvalFlags::Cells(const CellPreset& preset, const ModelInfo& model) const {
  ARKVALE_ASSIGN_OR_RETURN(const KvOptions base, kv_.Get());
  std::vector<KvPolicyKind> policies = preset.policies;
  ARKVALE_RETURN_IF_ERROR(ParseList(policies_, ParseKvPolicy, policies));
  ARKVALE_ASSIGN_OR_RETURN(const std::vector<KvOptions> summaries, Summaries(preset, base));
  std::vector<int64_t> budgets = preset.budgets;
  if (!budgets_.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(budgets, ParseNumbers("--budgets", budgets_, 0));
  }
  std::vector<int64_t> pages(preset.pages.begin(), preset.pages.end());
  if (pages.empty()) pages = {base.page_tokens};
  if (!pages_.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(pages, ParseNumbers("--pages", pages_, 1));
  }

  std::vector<KvOptions> cells;
  for (const KvPolicyKind policy : policies) {
    if (policy == KvPolicyKind::kFull) continue;
    for (const int64_t page : pages) {
      for (const int64_t budget : budgets) {
        for (const KvOptions& summary : summaries) {
          KvOptions cell = summary;
          cell.policy = policy;
          cell.page_tokens = static_cast<int32_t>(std::min<int64_t>(page, INT32_MAX));
          cell.budget_tokens = budget;
          // Quest's page bounds are the cuboid-max digest, whatever the list says.
          if (policy == KvPolicyKind::kQuest) cell.digest = DigestKind::kCuboidMax;
          if (!BudgetsPages(policy)) cell.page_tokens = base.page_tokens;
          const Status valid = cell.Validate(model.n_layers, model.n_kv_heads);
          if (valid.ok()) cells.push_back(RoundBudget(cell));
          if (!valid.ok() && !(budgets_.empty() && pages_.empty())) return valid;
          if (policy != KvPolicyKind::kArkvale) break;  // no choice of digests and zones
        }
      }
      if (!BudgetsPages(policy)) break;  // nor of pages
    }
  }
  return cells;
}

Result<NamedPlan> EvalFlags::PlanCells(const PlanInput& plan, const std::vector<KvOptions>& summaries,
                                       const ApplyPlanText& apply) const {
  ARKVALE_ASSIGN_OR_RETURN(const KvOptions base, kv_.Get());
  ARKVALE_ASSIGN_OR_RETURN(KvOptions cell, kv_.WithPlan(plan, base, apply));
  NamedPlan named{.name = plan.name, .options = {}};
  if (cell.policy != KvPolicyKind::kArkvale) {
    named.options.push_back(std::move(cell));
    return named;
  }
  if (!pages_.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(const auto pages, ParseNumbers("--pages", pages_, 1));
    if (std::find(pages.begin(), pages.end(), cell.page_tokens) == pages.end()) {
      return InvalidArgument("--pages " + pages_ + " lacks the " + std::to_string(cell.page_tokens) + " of plan " +
                             plan.path + ": add it, or leave the plan out");
    }
  }
  for (const KvOptions& summary : summaries) {
    cell.digest = summary.digest;
    cell.zone_tokens = summary.zone_tokens;
    cell.zone_value_bits = summary.zone_value_bits;
    named.options.push_back(cell);
  }
  return named;
}

Result<EvalCells> EvalFlags::CellsAndPlans(const CellPreset& preset, const Runtime& runtime) const {
  return CellsAndPlans(preset, runtime.info(),
                       [&](std::string_view text, KvOptions& options) { return runtime.ApplyPlan(text, options); });
}

Result<EvalCells> EvalFlags::CellsAndPlans(const CellPreset& preset, const ModelInfo& model,
                                           const ApplyPlanText& apply) const {
  EvalCells cells;
  ARKVALE_ASSIGN_OR_RETURN(cells.options, Cells(preset, model));
  if (plans_.empty()) return cells;
  ARKVALE_ASSIGN_OR_RETURN(const KvOptions base, kv_.Get());
  ARKVALE_ASSIGN_OR_RETURN(const std::vector<KvOptions> summaries, Summaries(preset, base));
  for (const std::string& path : SplitCommas(plans_)) {
    ARKVALE_ASSIGN_OR_RETURN(const PlanInput plan, ReadPlan(path));
    ARKVALE_ASSIGN_OR_RETURN(NamedPlan named, PlanCells(plan, summaries, apply));
    for (const NamedPlan& other : cells.plans) {
      if (other.options.front() != named.options.front()) continue;
      return InvalidArgument("--plans " + plans_ + ": " + named.name + " gives the same budgets as " + other.name +
                             ": leave one of them out");
    }
    cells.options.insert(cells.options.end(), named.options.begin(), named.options.end());
    cells.plans.push_back(std::move(named));
  }
  return cells;
}

std::vector<int64_t> LengthGrid(int64_t context_tokens) {
  if (context_tokens <= kSmallContextTokens) return {1024, 2048, 4096, 8000};
  return {1024, 2048, 4096, 8192, 16384, 32000};
}

CellPreset PresetCells(Preset preset, int64_t context_tokens) {
  CellPreset cells{.policies = {KvPolicyKind::kArkvale}, .budgets = {256, 1024}, .pages = {}};
  if (preset == Preset::kQuick) return cells;
  const bool small = context_tokens <= kSmallContextTokens;
  cells.budgets =
      small ? std::vector<int64_t>{128, 256, 512, 1024, 2048} : std::vector<int64_t>{256, 512, 1024, 2048, 4096};
  if (preset == Preset::kFull) cells.policies.push_back(KvPolicyKind::kQuest);
  return cells;
}

}  // namespace arkvale::tools
