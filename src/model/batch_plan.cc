#include "model/batch_plan.h"

#include <string>

namespace arkvale {

void RowSet::Clear() {
  n = 0;
  spans.clear();
}

void RowSet::Add(int64_t count, MatmulPath path) {
  if (count == 0) return;
  if (!spans.empty() && spans.back().path == path) {
    spans.back().end += count;
  } else {
    spans.push_back({n, n + count, path});
  }
  n += count;
}

Status BatchPlan::Set(std::span<const ForwardItem> items, int32_t n_vocab) {
  kv_items.clear();
  ids.clear();
  wanted_rows.clear();
  for (RowSet* rows : {&all, &wanted, &output}) rows->Clear();
  for (const ForwardItem& item : items) {
    const auto n_new = static_cast<int64_t>(item.tokens.size());
    const bool step = item.phase == KvPhase::kStep;
    if (n_new == 0 || (step && n_new != 1)) {
      return InvalidArgument(std::to_string(n_new) +
                             " tokens in one item: want 1 for a step, at least 1 for a prefill");
    }
    for (const int32_t id : item.tokens) {
      if (id < 0 || id >= n_vocab) {
        return InvalidArgument("token id " + std::to_string(id) + " is outside the vocabulary of " +
                               std::to_string(n_vocab));
      }
    }
    const MatmulPath path = step ? MatmulPath::kRows : MatmulPath::kTiles;
    const int64_t n_wanted = item.logits == LogitsWanted::kAll ? n_new : item.logits == LogitsWanted::kLast ? 1 : 0;
    kv_items.push_back({item.seq, static_cast<int32_t>(n_new), item.phase});
    ids.insert(ids.end(), item.tokens.begin(), item.tokens.end());
    all.Add(n_new, path);
    wanted.Add(n_wanted, path);
    output.Add(n_wanted, item.logits == LogitsWanted::kAll ? path : MatmulPath::kRows);
    for (int64_t row = all.n - n_wanted; row < all.n; ++row) wanted_rows.push_back(row);
  }
  return OkStatus();
}

}  // namespace arkvale
