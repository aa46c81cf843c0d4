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
};

// How the scores of a group's query heads become one score per page.
enum class CombineKind : uint8_t {
  kMean,         // arithmetic mean (upstream)
  kMax,          // best head
  kSoftmaxMean,  // mean of each head's softmax over pages
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
};

struct KvOptions {
  KvPolicyKind policy = KvPolicyKind::kArkvale;
  int64_t budget_tokens = 4096;  // c: hot tokens per layer, sinks and window included; 0 = unlimited
  int32_t page_tokens = 32;      // p: 8, 16, 32 or 64. Small pages find more, large ones cost fewer digest bytes
  DigestKind digest = DigestKind::kCuboidMean;
  TopkRule topk;
  int32_t sink_pages = 2;    // first pages, always resident
  int32_t window_pages = 2;  // last pages, always resident; >= 1
  int32_t dense_layers = 2;  // first layers that keep everything (absolute layer index)
  int32_t group_heads = 1;   // g: kv heads that share one page selection; divides the layer's kv heads
  CombineKind combine = CombineKind::kMean;
  AttendKind attend = AttendKind::kResident;
  WindowExit window_exit = WindowExit::kRank;
  bool digest_f32 = false;  // digest elements in f32 instead of f16
  // One entry per model layer, or empty: budgets and nominal top-k of single layers (a plan). 0 = the value above.
  std::vector<int64_t> layer_budget_tokens;
  std::vector<int32_t> layer_topk_pages;

  // Checks values against each other. `n_layers` and `kv_heads` are the model's.
  Status Validate(int32_t n_layers, int32_t kv_heads) const;
};

std::string_view KvPolicyName(KvPolicyKind kind);
Result<KvPolicyKind> ParseKvPolicy(std::string_view name);
std::string_view DigestName(DigestKind kind);
Result<DigestKind> ParseDigest(std::string_view name);

// One `name=value` of --kv-opt: combine, attend, window-exit, digest-type. InvalidArgument names the known ones.
Status SetKvOption(KvOptions& options, std::string_view name, std::string_view value);

}  // namespace arkvale
