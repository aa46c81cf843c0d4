#include "plan/kv_plan.h"

#include <algorithm>
#include <limits>

namespace arkvale {
namespace {

constexpr size_t kMaxFingerprint = 256;
constexpr size_t kMaxLayers = 4096;
constexpr int32_t kMaxWindow = 64;  // KvOptions::snap_window
constexpr int64_t kMaxBudget = std::numeric_limits<int32_t>::max();

// For one line of a message.
std::string Quoted(std::string_view name) {
  constexpr size_t kMaxShown = 80;
  std::string shown(name.substr(0, kMaxShown));
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  }
  return "'" + shown + (name.size() > kMaxShown ? "...'" : "'");
}

Status CheckFingerprint(const std::string& fingerprint) {
  const auto printable = [](char c) { return c > ' ' && c <= '~'; };
  const bool valid = !fingerprint.empty() && fingerprint.size() <= kMaxFingerprint &&
                     std::all_of(fingerprint.begin(), fingerprint.end(), printable);
  if (valid) return OkStatus();
  return InvalidArgument("model_fingerprint " + Quoted(fingerprint) + ": use 1 to " + std::to_string(kMaxFingerprint) +
                         " printable ASCII characters without spaces");
}

Status CheckUnits(const KvPlan& plan) {
  const int32_t p = plan.page_tokens;
  if (plan.kind == PlanKind::kXkv && p != 1) {
    return InvalidArgument("page_tokens " + std::to_string(p) + " of a plan for xkv: use 1, it counts single tokens");
  }
  if (plan.kind == PlanKind::kArkvale && p != 8 && p != 16 && p != 32 && p != 64) {
    return InvalidArgument("page_tokens " + std::to_string(p) + " of a plan for arkvale: use 8, 16, 32 or 64");
  }
  if (plan.window_tokens >= 1 && plan.window_tokens <= kMaxWindow) return OkStatus();
  return InvalidArgument("window_tokens " + std::to_string(plan.window_tokens) + ": use a number from 1 to " +
                         std::to_string(kMaxWindow));
}

Status CheckLayer(const KvPlan& plan, const LayerPlan& layer, size_t l) {
  const auto refuse = [l](const char* what, int64_t value, const std::string& use) {
    return InvalidArgument("layer " + std::to_string(l) + ": " + what + " " + std::to_string(value) + ": " + use);
  };
  const int64_t p = plan.page_tokens;
  const bool tokens = plan.kind == PlanKind::kXkv;
  const int64_t least = tokens ? int64_t{plan.window_tokens} + 1 : p;
  if (layer.budget_tokens < least || layer.budget_tokens > kMaxBudget) {
    return refuse("budget_tokens", layer.budget_tokens,
                  "use " + std::to_string(least) + " to " + std::to_string(kMaxBudget));
  }
  if (layer.budget_tokens % p != 0) {
    return refuse("budget_tokens", layer.budget_tokens, "use whole pages of " + std::to_string(p) + " tokens");
  }
  if (tokens && layer.topk_pages != 0) return refuse("topk_pages", layer.topk_pages, "use 0, xkv has no pages");
  const int64_t most = tokens ? 0 : layer.budget_tokens / p - 1;
  if (layer.topk_pages >= 0 && layer.topk_pages <= most) return OkStatus();
  return refuse("topk_pages", layer.topk_pages,
                "use 1 to " + std::to_string(most) + ", less than the budget's pages, or 0 for the policy's rule");
}

}  // namespace

std::string_view PlanKindName(PlanKind kind) { return kind == PlanKind::kXkv ? "xkv" : "arkvale"; }

Status KvPlan::Validate() const {
  ARKVALE_RETURN_IF_ERROR(CheckFingerprint(model_fingerprint));
  ARKVALE_RETURN_IF_ERROR(CheckUnits(*this));
  if (layers.empty() || layers.size() > kMaxLayers) {
    return InvalidArgument(std::to_string(layers.size()) + " layers: use 1 to " + std::to_string(kMaxLayers) +
                           ", one entry per layer of the model");
  }
  size_t planned = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    if (!layers[l]) continue;
    ++planned;
    ARKVALE_RETURN_IF_ERROR(CheckLayer(*this, *layers[l], l));
  }
  if (planned > 0) return OkStatus();
  return InvalidArgument("none of " + std::to_string(layers.size()) +
                         " layers has a budget: give one, or use policy full without a plan");
}

Status CheckPlanFits(const KvPlan& plan, std::string_view fingerprint, std::string_view model_name, int32_t n_layers) {
  if (plan.model_fingerprint != fingerprint) {
    const std::string theirs = plan.model_name.empty() ? "another model" : "model " + Quoted(plan.model_name);
    return InvalidArgument("the plan is for " + theirs + " (fingerprint " + Quoted(plan.model_fingerprint) +
                           "), not for " + Quoted(model_name) + " (fingerprint " + Quoted(fingerprint) +
                           "): make one with arkvale plan");
  }
  if (static_cast<int64_t>(plan.layers.size()) == n_layers) return OkStatus();
  return InvalidArgument("the plan has " + std::to_string(plan.layers.size()) + " layers, model " + Quoted(model_name) +
                         " has " + std::to_string(n_layers) + ": make one with arkvale plan");
}

void ApplyPlan(const KvPlan& plan, KvOptions& options) {
  if (plan.kind == PlanKind::kXkv) {
    options.policy = KvPolicyKind::kXkv;
    options.snap_window = plan.window_tokens;
  } else {
    options.policy = KvPolicyKind::kArkvale;
    options.page_tokens = plan.page_tokens;
  }
  options.budget_tokens = 0;
  options.layer_budget_tokens.clear();
  options.layer_topk_pages.clear();
  for (const std::optional<LayerPlan>& layer : plan.layers) {
    options.layer_budget_tokens.push_back(layer ? layer->budget_tokens : 0);
    options.layer_topk_pages.push_back(layer ? layer->topk_pages : 0);
  }
  const auto first = std::find_if(plan.layers.begin(), plan.layers.end(), [](const auto& l) { return l.has_value(); });
  options.dense_layers = static_cast<int32_t>(first - plan.layers.begin());
}

}  // namespace arkvale
