#include "tools/eval/fidelity_versus.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "tools/common/plan_input.h"
#include "tools/eval/cell_records.h"
#include "tools/eval/statistics.h"

namespace arkvale::tools {
namespace {

double MeanKl(const WindowSteps& steps) {
  double sum = 0;
  for (const StepFidelity& step : steps) sum += step.kl;
  return sum / static_cast<double>(steps.size());
}

std::optional<double> ProseKl(const WindowTotals& window) {
  return window.prose.empty() ? std::nullopt : std::optional(MeanKl(window.prose));
}

// None where one of the window's copy runs is missing: the others would be no fair mean.
std::optional<double> CopyKl(const WindowTotals& window) {
  return window.copy_failed || window.copies.empty() ? std::nullopt : std::optional(MeanKl(window.AllCopies()));
}

template <typename Kl>
Json PairedFields(const CellTotals& ours, const CellTotals& theirs, const Kl& kl, const std::string& suffix) {
  std::vector<double> differences;
  int64_t left_out = 0;
  for (const WindowTotals& window : ours.windows) {
    const auto other = std::find_if(theirs.windows.begin(), theirs.windows.end(),
                                    [&](const WindowTotals& w) { return w.id == window.id; });
    const auto a = kl(window), b = other == theirs.windows.end() ? std::nullopt : kl(*other);
    if (a && b) {
      differences.push_back(*a - *b);
    } else {
      ++left_out;
    }
  }
  const Interval interval = BootstrapMean(differences);
  const auto value = [&](double v) { return differences.empty() ? Json(nullptr) : Json(v); };
  return {{"windows" + suffix, differences.size()},
          {"left_out" + suffix, left_out},
          {"kl" + suffix + "_diff", value(Mean(differences))},
          {"kl" + suffix + "_diff_lo", value(interval.lo)},
          {"kl" + suffix + "_diff_hi", value(interval.hi)}};
}

bool Rivals(const CellTotals& our_cell, const CellTotals& their_cell) {
  const KvOptions &ours = our_cell.options, &theirs = their_cell.options;
  if (MeanBudgetTokens(theirs) != MeanBudgetTokens(ours)) return false;
  if (BudgetsPages(theirs.policy) && theirs.page_tokens != ours.page_tokens) return false;
  if (theirs.policy == ours.policy) {
    return !our_cell.plan.empty() && their_cell.plan.empty() && theirs.ResolvedDigest() == ours.ResolvedDigest() &&
           ZoneName(theirs) == ZoneName(ours);
  }
  return ours.policy == KvPolicyKind::kArkvale && theirs.policy != KvPolicyKind::kFull;
}

bool Copied(const CellTotals& cell) {
  return std::any_of(cell.windows.begin(), cell.windows.end(),
                     [](const WindowTotals& w) { return w.copy_failed || !w.copies.empty(); });
}

Json VersusRow(const CellTotals& ours, const CellTotals& theirs) {
  const auto name = [](const std::string& plan) { return plan.empty() ? Json(nullptr) : Json(plan); };
  const bool pages = BudgetsPages(ours.options.policy);
  Json row = {{"context_tokens", ours.context_tokens},
              {"policy", KvPolicyName(ours.options.policy)},
              {"plan", name(ours.plan)},
              {"budget_tokens", MeanBudgetTokens(ours.options)},
              {"page_tokens", pages ? Json(ours.options.page_tokens) : Json(nullptr)},
              {"digest", pages ? Json(DigestName(ours.options.ResolvedDigest())) : Json(nullptr)},
              {"zone", ours.options.ReadsZone() ? Json(ZoneName(ours.options)) : Json(nullptr)},
              {"versus", KvPolicyName(theirs.options.policy)},
              {"versus_plan", name(theirs.plan)}};
  row.update(PairedFields(ours, theirs, ProseKl, ""));
  // Where nothing was copied no window is left out.
  row.update(Copied(ours) ? PairedFields(ours, theirs, CopyKl, "_copy")
                          : PairedFields({ours.options, 0}, {theirs.options, 0}, CopyKl, "_copy"));
  return row;
}

std::string Difference(const Json& row, const std::string& name) {
  if (row[name].is_null()) return "-";
  return WithInterval(row[name].get<double>(), row[name + "_lo"].get<double>(), row[name + "_hi"].get<double>());
}

}  // namespace

Json VersusRows(std::span<const CellTotals> cells) {
  Json rows = Json::array();
  for (const CellTotals& ours : cells) {
    for (const CellTotals& theirs : cells) {
      if (Rivals(ours, theirs)) rows.push_back(VersusRow(ours, theirs));
    }
  }
  return rows;
}

std::string VersusTable(const Json& summary) {
  if (summary["versus"].empty()) return "";
  std::string text =
      "\nPolicies of equal (mean) budget: arkvale minus another one, and a plan minus one budget for all layers. KL in "
      "nats, mean over the same windows [95 % interval]; negative: the first is nearer to full attention\n\n" +
      MarkdownHead({"context", "policy", "budget", "page", "digest", "minus", "kl", "kl copy", "windows", "left out"});
  for (const Json& row : summary["versus"]) {
    const int64_t left_out = row["left_out"].get<int64_t>() + row["left_out_copy"].get<int64_t>();
    const std::string versus = PolicyName({{"policy", row["versus"]}, {"plan", row["versus_plan"]}});
    text += MarkdownRow({Number(row, "context_tokens"), PolicyName(row), Number(row, "budget_tokens"),
                         Number(row, "page_tokens"), SummaryName(row), versus, Difference(row, "kl_diff"),
                         Difference(row, "kl_copy_diff"), Number(row, "windows"), std::to_string(left_out)});
  }
  return text;
}

}  // namespace arkvale::tools
