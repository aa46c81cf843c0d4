// Lockstep: dense attention and every cell fed the same tokens from one prefilled context (evaluation protocol 4).
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "arkvale/kv_options.h"
#include "arkvale/stats.h"
#include "engine/session.h"
#include "tools/eval/fidelity_stats.h"

namespace arkvale::tools {

// What one cell did over the steps of one window.
struct CellRun {
  WindowSteps steps;
  std::vector<double> step_ms;  // without the audit's share
  double prefill_kl = 0;        // at the context's last token: 0 where the prefill is dense and of the same KV type
  KvTimings spent;
  KvStats stats;
  std::string error;  // empty, or why `steps` is empty
};

KvOptions DenseOptions();
// Full attention that keeps what forks into the cells judge tokens by.
KvOptions BaseOptions(std::span<const KvOptions> cells);
// Dense attention whose partial results are cut elsewhere (attend = all under the least budget of `like`): its KL is
// what rounding alone makes, the noise floor.
KvOptions FloorOptions(const KvOptions& like);

// Start of window w of `n_windows` with `n_ids` ids each, spread over a text of `n_text` >= n_ids ids.
int64_t WindowStart(int64_t w, int64_t n_windows, int64_t n_text, int64_t n_ids);

// Places in the list of cells that a run compares: dense attention, with which all are compared, and the noise floor.
// The others follow.
inline constexpr size_t kDenseCell = 0, kFloorCell = 1;

// A context prefilled under full attention, with its last logits, and where it lives.
struct PrefilledContext {
  Runtime* runtime = nullptr;
  const Session* session = nullptr;
};

// Tokens ids[0..n-2] are fed, ids[1..n-1] are the next tokens they should predict. The cells kDenseCell and kFloorCell
// run in forks of `reference`, the others of `base`: the same context, perhaps kept in another KV type. cells[0] must
// be DenseOptions(). `before_step` may end the run. Internal where the dense run's logits mean nothing; where a cell's
// do, its `error` says so.
Result<std::vector<CellRun>> RunLockstep(const PrefilledContext& reference, const PrefilledContext& base,
                                         std::span<const int32_t> ids, std::span<const KvOptions> cells,
                                         const std::function<Status()>& before_step);

}  // namespace arkvale::tools
