#include "tools/inspect/plan_text.h"

#include <algorithm>
#include <cstdint>

#include "tools/inspect/line.h"

namespace arkvale::tools {
namespace {

constexpr int64_t kBarColumns = 50;

struct Totals {
  int64_t n = 0, sum = 0, least = 0, largest = 0;
  double mean() const { return static_cast<double>(sum) / static_cast<double>(n); }
};

// The plan is valid: it has an entry.
Totals Count(const KvPlan& plan) {
  Totals t;
  for (const auto& layer : plan.layers) {
    if (!layer) continue;
    t.sum += layer->budget_tokens;
    t.least = t.n == 0 ? layer->budget_tokens : std::min(t.least, layer->budget_tokens);
    t.largest = std::max(t.largest, layer->budget_tokens);
    ++t.n;
  }
  return t;
}

// In eighths of a column, at least one.
std::string Bar(int64_t value, int64_t largest) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int64_t eighths = std::max<int64_t>(1, value * 8 * kBarColumns / largest);
  std::string bar;
  for (int64_t i = 0; i < eighths / 8; ++i) bar += "█";
  return bar + kEighths[eighths % 8];
}

std::string Padded(const std::string& text, size_t width) {
  return std::string(width > text.size() ? width - text.size() : 0, ' ') + text;
}

}  // namespace

Json PlanJson(const std::string& path, const KvPlan& plan) {
  const Totals t = Count(plan);
  Json layers = Json::array();
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const auto& layer = plan.layers[l];
    layers.push_back(
        layer ? Json{{"layer", l}, {"budget_tokens", layer->budget_tokens}, {"topk_pages", layer->topk_pages}}
              : Json(nullptr));
  }
  return {{"kind", "plan"},
          {"for", PlanKindName(plan.kind)},
          {"path", path},
          {"model_name", plan.model_name},
          {"model_fingerprint", plan.model_fingerprint},
          {"page_tokens", plan.page_tokens},
          {"window_tokens", plan.window_tokens},
          {"n_layers", plan.layers.size()},
          {"n_planned_layers", t.n},
          {"total_tokens", t.sum},
          {"mean_tokens", t.mean()},
          {"least_tokens", t.least},
          {"largest_tokens", t.largest},
          {"layers", layers},
          {"made_by", Json::parse(plan.made_by, nullptr, false)}};
}

std::string PlanText(const std::string& path, const KvPlan& plan) {
  const Totals t = Count(plan);
  const auto n = [](int64_t value) { return std::to_string(value); };
  const bool pages = plan.kind == PlanKind::kArkvale;
  std::string text = Line("plan", path);
  text +=
      Line("for", "policy " + std::string(PlanKindName(plan.kind)) +
                      (pages ? ", pages of " + n(plan.page_tokens) : ", judged by the last " + n(plan.window_tokens)) +
                      " tokens");
  text += Line("model", (plan.model_name.empty() ? "" : plan.model_name + ", ") + plan.model_fingerprint);
  text += Line("layers", n(static_cast<int64_t>(plan.layers.size())) + ", " + n(t.n) + " with a budget");
  text += Line("tokens",
               n(t.sum) + " in all, mean " + n((t.sum + t.n / 2) / t.n) + ", " + n(t.least) + " to " + n(t.largest));
  text += "\nlayer    tokens" + std::string(pages ? "  top-k" : "") + "\n";
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const auto& layer = plan.layers[l];
    text += Padded(std::to_string(l), 5) + Padded(layer ? n(layer->budget_tokens) : "-", 10);
    if (pages) text += Padded(!layer ? "-" : layer->topk_pages == 0 ? "auto" : n(layer->topk_pages), 7);
    text += layer ? "  " + Bar(layer->budget_tokens, t.largest) + "\n" : "\n";
  }
  return text;
}

}  // namespace arkvale::tools
