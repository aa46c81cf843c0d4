#include "tools/eval/fidelity_versus.h"

#include <algorithm>
#include <optional>
#include <vector>

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

bool Rivals(const KvOptions& ours, const KvOptions& theirs) {
  return theirs.policy != KvPolicyKind::kArkvale && theirs.policy != KvPolicyKind::kFull &&
         theirs.budget_tokens == ours.budget_tokens &&
         (!BudgetsPages(theirs.policy) || theirs.page_tokens == ours.page_tokens);
}

bool Copied(const CellTotals& cell) {
  return std::any_of(cell.windows.begin(), cell.windows.end(),
                     [](const WindowTotals& w) { return w.copy_failed || !w.copies.empty(); });
}

Json VersusRow(const CellTotals& ours, const CellTotals& theirs) {
  Json row = {{"context_tokens", ours.context_tokens},
              {"budget_tokens", ours.options.budget_tokens},
              {"page_tokens", ours.options.page_tokens},
              {"digest", DigestName(ours.options.ResolvedDigest())},
              {"versus", KvPolicyName(theirs.options.policy)}};
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
    if (ours.options.policy != KvPolicyKind::kArkvale) continue;
    for (const CellTotals& theirs : cells) {
      if (Rivals(ours.options, theirs.options)) rows.push_back(VersusRow(ours, theirs));
    }
  }
  return rows;
}

std::string VersusTable(const Json& summary) {
  if (summary["versus"].empty()) return "";
  std::string text =
      "\narkvale minus another policy of equal budget: KL in nats, mean over the same windows [95 % interval]; "
      "negative: "
      "arkvale is nearer to full attention\n\n" +
      MarkdownHead({"context", "budget", "page", "digest", "minus", "kl", "kl copy", "windows", "left out"});
  for (const Json& row : summary["versus"]) {
    const int64_t left_out = row["left_out"].get<int64_t>() + row["left_out_copy"].get<int64_t>();
    text += MarkdownRow({Number(row, "context_tokens"), Number(row, "budget_tokens"), Number(row, "page_tokens"),
                         Name(row, "digest"), Name(row, "versus"), Difference(row, "kl_diff"),
                         Difference(row, "kl_copy_diff"), Number(row, "windows"), std::to_string(left_out)});
  }
  return text;
}

}  // namespace arkvale::tools
