// KvOptions: how one sequence keeps its KV cache. Every field can differ between sequences of one engine, and a fork
// may change all of them. The binary's flags have the same names; what the cache does with them: doc/kv_cache.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "arkvale/status.h"

namespace arkvale {

enum class KvPolicyKind : uint8_t {
  kFull,     // attend to everything
  kArkvale,  // pages are evicted and recalled (ArkVale, NeurIPS 2024)
  kQuest,    // nothing is evicted, a step reads the last page and the best others by cuboid-max, in all max(3, c/p)
             // (Quest, arXiv 2406.10774). Sinks, window, top-k, digest kind and window-exit do not apply
  // Single tokens are dropped for good; pages, digests and top-k do not apply. The budget counts tokens of a layer and
  // kv head and is not rounded to pages. A prefill is exact over the tokens held; what is dropped, drops when it ends.
  kStreaming,  // the first tokens and the newest (StreamingLLM, arXiv 2309.17453), at their original positions
  kH2o,        // the newest, and those that were looked at most since the beginning (H2O, arXiv 2306.14048)
  kTova,       // those that the last token looks at most, all heads alike (TOVA, arXiv 2401.06104)
  kSnapkv,     // those that the last tokens of a prompt look at most; grows from there on (SnapKV, arXiv 2404.14469)
  kPyramidkv,  // the same with budgets that fall from layer to layer (PyramidKV, arXiv 2406.02069)
  kXkv,        // the same, once, with the budgets of a plan, layer_budget_tokens (XKV, arXiv 2412.05896)
};

// Page summaries; ops/digest.h gives their formulas.
enum class DigestKind : uint8_t {
  kCentroid,
  kSphereMax,
  kSphereCenter,
  kSphereMean,
  kCuboidMax,
  kCuboidCenter,
  kCuboidMean,
  kCode1,  // centre, deviation and one bit per key and dimension: ours
  kCode2,  // box and two bits per key and dimension: ours
};

// Element type of a digest's vectors; the bits of the code digests are bits whatever it is.
enum class DigestType : uint8_t {
  kF16,
  kF32,
  kQ8,  // 8 bits per channel, one f16 scale per vector
};

// How the scores of a group's query heads become one score per page.
enum class CombineKind : uint8_t {
  kAuto,           // softmax-pinned for the code digests, else (and for quest) mean
  kMean,           // arithmetic mean (upstream)
  kMax,            // best head
  kSoftmaxMean,    // mean of each head's softmax over pages
  kSoftmaxPinned,  // as softmax-mean, with the exact scores of sinks and window in the denominator: a head that looks
                   // only at the sinks stops voting
};

// What a step under a budget attends to.
enum class AttendKind : uint8_t {
  kResident,  // every resident page
  kSelected,  // sinks, window and the selected pages only
  kAll,       // all of it after the usual work, so that the result is dense (for tests)
};

// What happens to the page that leaves the window when a new page opens.
enum class WindowExit : uint8_t {
  kRank,  // it competes by score
  kDrop,  // it is evicted first (upstream)
};

// Pages chosen anew each step (k_nom).
struct TopkRule {
  enum class Kind : uint8_t {
    kAuto,   // every free place where pages are read in place, kPaper where bytes move
    kPaper,  // floor(min(1280, c/2) / p)
    kPages,  // `pages`
  };
  Kind kind = Kind::kAuto;
  int32_t pages = 0;

  bool operator==(const TopkRule&) const = default;
};

// Which rows of a prefill H2O adds up.
enum class H2oInit : uint8_t {
  kFull,     // every row
  kLastRow,  // the last row only (ArkVale's comparison with H2O)
};

// How SnapKV, PyramidKV and XKV smooth the scores of neighbouring tokens.
enum class SnapPooling : uint8_t { kAverage, kMax };

// What a sequence keeps for forks into policies that judge tokens by their past. Costs nothing at the defaults.
struct KvCollect {
  int32_t last_queries = 1;  // queries of the newest tokens: snap_window of them for snapkv, pyramidkv, xkv
  bool column_sums = false;  // attention of all rows added up, for h2o with h2o-init=full: a second pass over the keys

  bool operator==(const KvCollect&) const = default;
};

// Element type of K and V, one for all sequences of an engine.
enum class KvType : uint8_t {
  kF16,
  kQ8,  // q8_0: 8 bits, an f16 scale per 32 elements; head dims must be multiples of 32
  kQ4,  // q4_0: 4 bits, otherwise as q8_0
};

// KvOptions::budget_tokens of --kv-budget auto: the largest budget that EngineOptions::hot_limit_bytes has room for.
inline constexpr int64_t kAutoBudget = -1;
// KvOptions::zone_tokens of zone=all.
inline constexpr int64_t kZoneAll = INT64_MAX;

struct KvOptions {
  KvPolicyKind policy = KvPolicyKind::kArkvale;
  int64_t budget_tokens = 4096;  // c: hot tokens per layer, sinks and window included; 0 = unlimited
  int32_t page_tokens = 32;      // p: 8, 16, 32 or 64. Small pages find more, large ones cost fewer digest bytes
  DigestKind digest = DigestKind::kCode2;
  TopkRule topk;
  int32_t sink_pages = 2;    // first pages, always resident
  int32_t window_pages = 2;  // last pages, always resident; >= 1
  int32_t dense_layers = 0;  // first layers that keep everything (absolute layer index); ArkVale's paper keeps 2
  int32_t group_heads = 1;   // g: kv heads that share one page selection; divides the layer's kv heads
  CombineKind combine = CombineKind::kAuto;
  AttendKind attend = AttendKind::kResident;
  WindowExit window_exit = WindowExit::kRank;
  DigestType digest_type = DigestType::kF16;
  // N: a layer ranks all its pages at every N-th step, at the others only the best of the last ranking and the pages
  // that left the window since (kv/select.h). More than 1 makes steps of long contexts cheaper, and a page that only
  // this token needs may be found a step too late.
  int32_t rank_every = 1;
  // z: a step reads so many tokens' worth of the best pages beyond the resident ones as their codes tell: K from code2,
  // V in zone_value_bits per channel, which are kept hot (ops/zone_attention.h). What is beyond the zone is left out.
  int64_t zone_tokens = 0;      // 0 = none, else at least a page
  int32_t zone_value_bits = 2;  // 2 or 4
  int32_t audit_every = 0;      // every N-th step also ranks the pages by their true scores (KvStats::audit); 0 = never
  // One entry per model layer, or empty: budgets and nominal top-k of single layers (a plan). 0 = the value above.
  std::vector<int64_t> layer_budget_tokens;
  std::vector<int32_t> layer_topk_pages;

  // Policies that drop single tokens (algorithms 8).
  int32_t streaming_sinks = 4;  // first tokens that streaming keeps
  double h2o_heavy = 0.5;       // share of the budget for the tokens looked at most; the rest is for the newest
  H2oInit h2o_init = H2oInit::kFull;
  int32_t snap_window = 8;  // W: last tokens of a prompt that judge the others and stay; 1..64
  int32_t snap_kernel = 7;  // K: tokens whose scores are pooled, odd
  SnapPooling snap_pooling = SnapPooling::kAverage;
  int32_t pyramid_beta = 20;  // the last layer's share of the mean budget is 1 / beta
  KvCollect collect;

  // kAuto resolved.
  CombineKind ResolvedCombine() const;
  // `digest`, but for quest, whose pages are always judged by cuboid-max.
  DigestKind ResolvedDigest() const;
  // Whether pages get codes of V.
  bool ReadsZone() const;
  // Checks values against each other. `n_layers` and `kv_heads` are the model's. kAutoBudget must be resolved before
  // (engine/runtime.h).
  Status Validate(int32_t n_layers, int32_t kv_heads) const;

  bool operator==(const KvOptions&) const = default;
};

std::string_view KvPolicyName(KvPolicyKind kind);
Result<KvPolicyKind> ParseKvPolicy(std::string_view name);
std::string_view KvTypeName(KvType type);
Result<KvType> ParseKvType(std::string_view name);
std::string_view DigestName(DigestKind kind);
Result<DigestKind> ParseDigest(std::string_view name);

// True when a sequence of this policy still holds every token's K and V, so that it can be forked at any of them.
bool KeepsAllTokens(KvPolicyKind kind);
// True when the last snap_window tokens of a prompt judge the others and stay.
bool JudgesByWindow(KvPolicyKind kind);
// True when a budget of this policy is a number of whole pages.
bool BudgetsPages(KvPolicyKind kind);

// One `name=value` of --kv-opt: combine, attend, window-exit, digest-type, rank-every, zone, zone-v, streaming-sinks,
// h2o-heavy, h2o-init, snap-window, snap-kernel, snap-pooling, pyramid-beta. InvalidArgument names the known ones.
Status SetKvOption(KvOptions& options, std::string_view name, std::string_view value);

}  // namespace arkvale
