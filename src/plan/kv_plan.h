// KvPlan: the budgets of every layer of one model. plan_file.h reads and writes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arkvale/kv_options.h"
#include "arkvale/status.h"

namespace arkvale {

enum class PlanKind : uint8_t {
  kXkv,      // single tokens, for KvPolicyKind::kXkv
  kArkvale,  // pages, for KvPolicyKind::kArkvale
};

std::string_view PlanKindName(PlanKind kind);

struct LayerPlan {
  int64_t budget_tokens = 0;  // c of the layer: pinned pages, or the window of W tokens, included
  int32_t topk_pages = 0;     // nominal (KvOptions::topk); 0 = the policy's rule, always so for xkv

  bool operator==(const LayerPlan&) const = default;
};

struct KvPlan {
  PlanKind kind = PlanKind::kXkv;
  std::string model_fingerprint;  // which model the plan is for: 1 to 256 printable ASCII characters
  std::string model_name;         // UTF-8, for people only; may be empty
  int32_t page_tokens = 1;        // p, what a budget counts in: 1 for xkv; 8, 16, 32 or 64 for arkvale
  int32_t window_tokens = 8;      // W, the last tokens of a prompt that judged the others; 1..64
  // One entry per model layer. None: a sliding layer, or one that keeps everything.
  std::vector<std::optional<LayerPlan>> layers;
  std::string made_by = "{}";  // a JSON object: how the plan was made, for people and scripts only

  // InvalidArgument where a value is out of range. `made_by` is checked by FormatPlan.
  Status Validate() const;

  bool operator==(const KvPlan&) const = default;
};

// InvalidArgument, with both models' names, where the plan was not made for this one. The plan is valid.
Status CheckPlanFits(const KvPlan& plan, std::string_view fingerprint, std::string_view model_name, int32_t n_layers);

// Sets what the plan decides: policy, budget_tokens, layer_budget_tokens, layer_topk_pages and dense_layers;
// page_tokens of an arkvale plan, snap_window of an xkv plan. budget_tokens becomes 0, so that a layer without an entry
// keeps everything wherever it lies; dense_layers counts those before the first entry. `topk` stays: it is the rule of
// layers with topk_pages 0. The plan is valid; the options may not be: their Validate compares sinks and window with
// budgets.
void ApplyPlan(const KvPlan& plan, KvOptions& options);

}  // namespace arkvale
