// Hot bytes of a sequence before it has them (algorithms 2, "Bytes"): pure functions of shapes, options and depth.
//
// Hot is what a step can read without a recall, and the digests with the value codes of a zone: of dense layers every
// token, of sliding ones their window, of managed ones min(n, B) pages (every page where the policy evicts nothing; all
// slots where bytes move). Where single tokens are dropped: min(n, c + 1) tokens, for a step reads its own token before
// it drops one; all n where the policy drops in prefills only, since what will be a prompt is not known. In the middle
// of an exact prefill that reads RAM in place the pages that will be evicted at its end do not count.
#pragma once

#include <cstdint>
#include <vector>

#include "arkvale/kv_options.h"
#include "arkvale/status.h"
#include "kv/select.h"
#include "kv/shape.h"

namespace arkvale {

// Slots of one group in a tier that moves bytes: B, one spare for the page that opens before a victim is known, one to
// stage evicted pages.
inline constexpr int32_t SlotsPerGroup(const PageBudget& budget) { return budget.pages + 2; }

// Hot bytes as a function of depth, for options that Validate has accepted.
class HotPlan {
 public:
  // InvalidArgument where a digest has no layout for the shape.
  static Result<HotPlan> Make(const KvShape& shape, const KvOptions& options, bool in_place);

  int64_t Bytes(int64_t n_tokens) const;

 private:
  struct Layer {
    int64_t token_bytes = 0;   // K and V of one token, all heads
    int64_t window = 0;        // of a sliding layer
    int64_t most_tokens = 0;   // that a layer ever holds; 0 = all
    int64_t budget_pages = 0;  // 0: not managed
    int64_t page_tokens = 1;
    int64_t digest_bytes = 0;  // of one page, all heads, value codes with them
    int64_t slot_bytes = 0;    // of all slots, where bytes move
    bool evicts = true;
  };
  std::vector<Layer> layers_;
};

// HotPlan in one call; 0 where it cannot be made.
int64_t HotBytes(const KvShape& shape, const KvOptions& options, int64_t n_tokens, bool in_place);

// The largest budget (of whole pages, where the policy counts those) with which a sequence of n_tokens takes at most
// limit_bytes; never more than holds all of it. Layer budgets that the options set stay as they are. ResourceExhausted
// quotes what the smallest valid budget needs.
Result<int64_t> BudgetForHotBytes(const KvShape& shape, KvOptions options, int64_t n_tokens, int64_t limit_bytes,
                                  bool in_place = true);

}  // namespace arkvale
