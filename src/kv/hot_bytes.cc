#include "kv/hot_bytes.h"

#include <algorithm>
#include <string>

#include "kv/digest_store.h"
#include "kv/token_rules.h"
#include "ops/digest.h"

namespace arkvale {
namespace {

std::string MiB(int64_t bytes) {
  return std::to_string((bytes + (int64_t{1} << 20) - 1) >> 20) + " MiB (" + std::to_string(bytes) + " bytes)";
}

// The smallest budget that Validate accepts, in its unit.
int64_t LeastBudget(const KvOptions& o) {
  switch (o.policy) {
    case KvPolicyKind::kArkvale: return int64_t{o.sink_pages} + o.window_pages + 1;
    case KvPolicyKind::kStreaming: return int64_t{o.streaming_sinks} + 1;
    case KvPolicyKind::kSnapkv:
    case KvPolicyKind::kPyramidkv:
    case KvPolicyKind::kXkv: return int64_t{o.snap_window} + 1;
    default: return 1;
  }
}

}  // namespace

Result<HotPlan> HotPlan::Make(const KvShape& shape, const KvOptions& options, bool in_place) {
  HotPlan plan;
  plan.layers_.reserve(shape.layers.size());
  const std::vector<TokenRule> rules = MakeTokenRules(shape, options);
  for (int32_t l = 0; l < shape.n_layers(); ++l) {
    const KvLayerShape& s = shape.layers[l];
    Layer& layer = plan.layers_.emplace_back();
    layer.token_bytes = s.token_bytes(shape.dtype);
    layer.window = s.window;
    if (s.window > 0) continue;
    if (rules[l].budget > 0 && rules[l].drops_in_steps()) layer.most_tokens = rules[l].budget + 1;
    if (!BudgetsPages(options.policy)) continue;
    const PageBudget budget = MakePageBudget(options, l, in_place);
    if (budget.pages == 0) continue;
    ARKVALE_ASSIGN_OR_RETURN(const DigestLayout digest, MakeDigestLayout(options.ResolvedDigest(), options.digest_type,
                                                                         options.page_tokens, s.head_dim_k));
    layer.budget_pages = budget.pages;
    layer.page_tokens = options.page_tokens;
    ARKVALE_ASSIGN_OR_RETURN(const ValueCodeLayout values, ZoneValueLayout(options, s.head_dim_v));
    layer.digest_bytes = s.n_kv_heads * (digest.bytes() + values.page_bytes);
    layer.evicts = budget.evicts;
    if (!in_place) layer.slot_bytes = SlotsPerGroup(budget) * options.page_tokens * layer.token_bytes;
  }
  return plan;
}

int64_t HotPlan::Bytes(int64_t n_tokens) const {
  int64_t bytes = 0;
  for (const Layer& l : layers_) {
    if (l.budget_pages == 0) {
      const int64_t most = std::max(l.window, l.most_tokens);
      bytes += l.token_bytes * (most > 0 ? std::min(n_tokens, most) : n_tokens);
      continue;
    }
    const int64_t pages = (n_tokens + l.page_tokens - 1) / l.page_tokens;
    const int64_t hot_pages = l.evicts ? std::min(pages, l.budget_pages) : pages;
    bytes += l.slot_bytes > 0 ? l.slot_bytes : hot_pages * l.page_tokens * l.token_bytes;
    bytes += n_tokens / l.page_tokens * l.digest_bytes;
  }
  return bytes;
}

int64_t HotBytes(const KvShape& shape, const KvOptions& options, int64_t n_tokens, bool in_place) {
  const auto plan = HotPlan::Make(shape, options, in_place);
  return plan.ok() ? plan->Bytes(n_tokens) : 0;
}

Result<int64_t> BudgetForHotBytes(const KvShape& shape, KvOptions options, int64_t n_tokens, int64_t limit_bytes,
                                  bool in_place) {
  const int64_t unit = BudgetsPages(options.policy) ? options.page_tokens : 1;
  const int64_t least = LeastBudget(options);
  const auto needed = [&](int64_t pages) -> Result<int64_t> {
    options.budget_tokens = pages * unit;
    ARKVALE_ASSIGN_OR_RETURN(const HotPlan plan, HotPlan::Make(shape, options, in_place));
    return plan.Bytes(n_tokens);
  };
  ARKVALE_ASSIGN_OR_RETURN(const int64_t smallest, needed(least));
  if (smallest > limit_bytes) {
    return ResourceExhausted("hot KV memory: " + std::to_string(n_tokens) + " tokens need at least " + MiB(smallest) +
                             ", with a budget of " + std::to_string(least * unit) + " tokens; the limit is " +
                             MiB(limit_bytes) +
                             ": raise --kv-hot-mem, lower --ctx, or use fewer dense layers or larger pages");
  }
  int64_t low = least, high = std::max(least, (n_tokens + unit - 1) / unit);
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    ARKVALE_ASSIGN_OR_RETURN(const int64_t bytes, needed(middle));
    if (bytes <= limit_bytes) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low * unit;
}

}  // namespace arkvale
