#include "arkvale/kv_options.h"

#include <array>
#include <charconv>
#include <utility>

namespace arkvale {
namespace {

constexpr int32_t kMaxRankEvery = 64;
constexpr int32_t kMaxSnapWindow = 64;
constexpr int32_t kMaxCount = 1 << 20;

template <typename T>
struct Named {
  std::string_view name;
  T value;
};

constexpr auto kPolicies = std::to_array<Named<KvPolicyKind>>({
    {"full", KvPolicyKind::kFull},
    {"arkvale", KvPolicyKind::kArkvale},
    {"quest", KvPolicyKind::kQuest},
    {"streaming", KvPolicyKind::kStreaming},
    {"h2o", KvPolicyKind::kH2o},
    {"tova", KvPolicyKind::kTova},
    {"snapkv", KvPolicyKind::kSnapkv},
    {"pyramidkv", KvPolicyKind::kPyramidkv},
    {"xkv", KvPolicyKind::kXkv},
});
constexpr auto kTypes = std::to_array<Named<KvType>>({
    {"f16", KvType::kF16},
    {"q8_0", KvType::kQ8},
    {"q4_0", KvType::kQ4},
});
constexpr auto kDigests = std::to_array<Named<DigestKind>>({
    {"centroid", DigestKind::kCentroid},
    {"sphere-max", DigestKind::kSphereMax},
    {"sphere-center", DigestKind::kSphereCenter},
    {"sphere-mean", DigestKind::kSphereMean},
    {"cuboid-max", DigestKind::kCuboidMax},
    {"cuboid-center", DigestKind::kCuboidCenter},
    {"cuboid-mean", DigestKind::kCuboidMean},
    {"code1", DigestKind::kCode1},
    {"code2", DigestKind::kCode2},
});
constexpr auto kCombines = std::to_array<Named<CombineKind>>({
    {"auto", CombineKind::kAuto},
    {"mean", CombineKind::kMean},
    {"max", CombineKind::kMax},
    {"softmax-mean", CombineKind::kSoftmaxMean},
    {"softmax-pinned", CombineKind::kSoftmaxPinned},
});
constexpr auto kAttends = std::to_array<Named<AttendKind>>({
    {"resident", AttendKind::kResident},
    {"selected", AttendKind::kSelected},
    {"all", AttendKind::kAll},
});
constexpr auto kWindowExits = std::to_array<Named<WindowExit>>({
    {"rank", WindowExit::kRank},
    {"drop", WindowExit::kDrop},
});
constexpr auto kDigestTypes = std::to_array<Named<DigestType>>({
    {"f16", DigestType::kF16},
    {"f32", DigestType::kF32},
    {"q8", DigestType::kQ8},
});
constexpr auto kH2oInits = std::to_array<Named<H2oInit>>({
    {"full", H2oInit::kFull},
    {"last-row", H2oInit::kLastRow},
});
constexpr auto kSnapPoolings = std::to_array<Named<SnapPooling>>({
    {"average", SnapPooling::kAverage},
    {"max", SnapPooling::kMax},
});

template <typename T, size_t N>
Status Lookup(const std::array<Named<T>, N>& table, std::string_view what, std::string_view name, T& value) {
  std::string known;
  for (const auto& entry : table) {
    if (entry.name == name) {
      value = entry.value;
      return OkStatus();
    }
    known += known.empty() ? "" : ", ";
    known += entry.name;
  }
  return InvalidArgument(std::string(what) + " '" + std::string(name) + "' is unknown: use one of " + known);
}

Status ParseCount(std::string_view what, std::string_view text, int32_t least, int32_t most, int32_t& value) {
  int32_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error == std::errc() && end == text.data() + text.size() && count >= least && count <= most) {
    value = count;
    return OkStatus();
  }
  return InvalidArgument(std::string(what) + " '" + std::string(text) + "': use a number from " +
                         std::to_string(least) + " to " + std::to_string(most));
}

Status ParseZone(std::string_view name, std::string_view value, int64_t& tokens) {
  if (value == "all") {
    tokens = kZoneAll;
    return OkStatus();
  }
  int32_t count = 0;
  if (!ParseCount(name, value, 0, kMaxCount, count).ok()) {
    return InvalidArgument(std::string(name) + " '" + std::string(value) + "': use a number of tokens from 0 to " +
                           std::to_string(kMaxCount) + ", or all");
  }
  tokens = count;
  return OkStatus();
}

Status ParseShare(std::string_view what, std::string_view text, double& value) {
  double share = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), share);
  if (error == std::errc() && end == text.data() + text.size() && share >= 0 && share <= 1) {
    value = share;
    return OkStatus();
  }
  return InvalidArgument(std::string(what) + " '" + std::string(text) + "': use a share from 0 to 1");
}

template <typename T, size_t N>
std::string_view NameOf(const std::array<Named<T>, N>& table, T value) {
  for (const auto& entry : table) {
    if (entry.value == value) return entry.name;
  }
  return "?";
}

std::string LayerNote(int32_t layer) { return layer < 0 ? "" : " (layer " + std::to_string(layer) + ")"; }

// The budget of a policy that drops single tokens.
Status CheckTokenBudget(const KvOptions& o, int64_t budget_tokens, int32_t layer) {
  const auto refuse = [&](const std::string& what, int32_t kept) {
    return InvalidArgument("budget " + std::to_string(budget_tokens) + " tokens <= " + what + " " +
                           std::to_string(kept) + LayerNote(layer) + ": use at least " +
                           std::to_string(int64_t{kept} + 1) + " tokens or lower " + what);
  };
  if (o.policy == KvPolicyKind::kStreaming && budget_tokens <= o.streaming_sinks) {
    return refuse("streaming-sinks", o.streaming_sinks);
  }
  if (JudgesByWindow(o.policy) && budget_tokens <= o.snap_window) return refuse("snap-window", o.snap_window);
  return OkStatus();
}

// One layer's budget and nominal top-k; `layer` < 0 means the values for all layers.
Status CheckBudget(const KvOptions& o, int64_t budget_tokens, int32_t topk_pages, int32_t layer) {
  if (budget_tokens == kAutoBudget) {
    return InvalidArgument("budget auto" + LayerNote(layer) + ": a layer's own budget is a number of tokens");
  }
  if (budget_tokens < 0) {
    return InvalidArgument("budget " + std::to_string(budget_tokens) + " tokens < 0" + LayerNote(layer) +
                           ": use 0 for no limit");
  }
  if (budget_tokens == 0 || o.policy == KvPolicyKind::kQuest) return OkStatus();
  if (!BudgetsPages(o.policy)) return CheckTokenBudget(o, budget_tokens, layer);
  const int64_t pages = budget_tokens / o.page_tokens;
  const int64_t needed = static_cast<int64_t>(o.sink_pages) + o.window_pages + 1;
  if (pages < needed) {
    return InvalidArgument("budget " + std::to_string(budget_tokens) + " tokens = " + std::to_string(pages) +
                           " pages of " + std::to_string(o.page_tokens) +
                           " < sinks + window + 1 = " + std::to_string(needed) + " pages" + LayerNote(layer) +
                           ": use at least " + std::to_string(needed * o.page_tokens) + " tokens or smaller pages");
  }
  if (topk_pages >= pages) {
    return InvalidArgument("top-k " + std::to_string(topk_pages) + " pages >= budget of " + std::to_string(pages) +
                           " pages" + LayerNote(layer) + ": use at most " + std::to_string(pages - 1));
  }
  return OkStatus();
}

Status CheckRanges(const KvOptions& o, int32_t n_layers, int32_t kv_heads) {
  if (o.page_tokens != 8 && o.page_tokens != 16 && o.page_tokens != 32 && o.page_tokens != 64) {
    return InvalidArgument("page of " + std::to_string(o.page_tokens) + " tokens: use 8, 16, 32 or 64");
  }
  if (o.sink_pages < 0) {
    return InvalidArgument("sinks of " + std::to_string(o.sink_pages) + " pages < 0: use 0 or more");
  }
  if (o.window_pages < 1) {
    return InvalidArgument("window of " + std::to_string(o.window_pages) + " pages < 1: use 1 or more");
  }
  if (o.dense_layers < 0 || o.dense_layers > n_layers) {
    return InvalidArgument("dense layers " + std::to_string(o.dense_layers) + " outside 0.." +
                           std::to_string(n_layers) + ", the model's layers");
  }
  if (o.group_heads < 1 || kv_heads % o.group_heads != 0) {
    return InvalidArgument("group of " + std::to_string(o.group_heads) + " kv heads does not divide the model's " +
                           std::to_string(kv_heads) + ": use a divisor");
  }
  if (o.audit_every < 0) {
    return InvalidArgument("audit of every " + std::to_string(o.audit_every) + " steps < 0: use 0 for none");
  }
  if (o.rank_every < 1 || o.rank_every > kMaxRankEvery) {
    return InvalidArgument("rank-every " + std::to_string(o.rank_every) + ": use a number from 1 to " +
                           std::to_string(kMaxRankEvery));
  }
  if (o.topk.kind == TopkRule::Kind::kPages && o.topk.pages < 1) {
    return InvalidArgument("top-k " + std::to_string(o.topk.pages) + " pages < 1: use 1 or more, auto or paper");
  }
  return OkStatus();
}

// Options of the policies that drop single tokens.
Status CheckTokenRanges(const KvOptions& o) {
  if (o.streaming_sinks < 0) {
    return InvalidArgument("streaming-sinks " + std::to_string(o.streaming_sinks) + " < 0: use 0 or more");
  }
  if (!(o.h2o_heavy >= 0 && o.h2o_heavy <= 1)) {
    return InvalidArgument("h2o-heavy " + std::to_string(o.h2o_heavy) + " outside [0, 1]: use a share of the budget");
  }
  for (const auto& [name, rows] : {std::pair("snap-window", o.snap_window), {"last queries", o.collect.last_queries}}) {
    if (rows >= 1 && rows <= kMaxSnapWindow) continue;
    return InvalidArgument(std::string(name) + " " + std::to_string(rows) + ": use a number from 1 to " +
                           std::to_string(kMaxSnapWindow));
  }
  if (o.snap_kernel < 1 || o.snap_kernel % 2 == 0) {
    return InvalidArgument("snap-kernel " + std::to_string(o.snap_kernel) + ": use an odd number of tokens");
  }
  if (o.pyramid_beta < 1) {
    return InvalidArgument("pyramid-beta " + std::to_string(o.pyramid_beta) + " < 1: use 1 or more");
  }
  if (o.policy == KvPolicyKind::kPyramidkv && !o.layer_budget_tokens.empty()) {
    return InvalidArgument("policy pyramidkv makes the budgets of its layers: give no list of them, or use xkv");
  }
  return OkStatus();
}

Status CheckZone(const KvOptions& o) {
  if (o.zone_tokens < 0)
    return InvalidArgument("zone " + std::to_string(o.zone_tokens) + " tokens < 0: use 0 for none");
  if (o.zone_value_bits != 2 && o.zone_value_bits != 4) {
    return InvalidArgument("zone-v " + std::to_string(o.zone_value_bits) + " bits: use 2 or 4");
  }
  if (!o.ReadsZone()) return OkStatus();
  if (o.zone_tokens < o.page_tokens) {
    return InvalidArgument("zone " + std::to_string(o.zone_tokens) + " tokens < 1 page of " +
                           std::to_string(o.page_tokens) + ": use 0 for none, or whole pages");
  }
  if (o.digest != DigestKind::kCode2) {
    return InvalidArgument("zone with digest " + std::string(DigestName(o.digest)) +
                           ": only code2 can stand for the keys; use it, or zone=0");
  }
  if (o.attend != AttendKind::kResident) {
    return InvalidArgument(
        "zone with attend=" + std::string(NameOf(kAttends, o.attend)) +
        ": what is read besides the resident pages would count twice; use attend=resident, or zone=0");
  }
  return OkStatus();
}

Status CheckListLength(std::string_view what, size_t size, int32_t n_layers) {
  if (size == 0 || size == static_cast<size_t>(n_layers)) return OkStatus();
  return InvalidArgument(std::string(what) + " list has " + std::to_string(size) + " entries, the model " +
                         std::to_string(n_layers) + " layers: give one entry per layer");
}

}  // namespace

Status KvOptions::Validate(int32_t n_layers, int32_t kv_heads) const {
  ARKVALE_RETURN_IF_ERROR(CheckRanges(*this, n_layers, kv_heads));
  ARKVALE_RETURN_IF_ERROR(CheckTokenRanges(*this));
  ARKVALE_RETURN_IF_ERROR(CheckZone(*this));
  ARKVALE_RETURN_IF_ERROR(CheckListLength("layer budget", layer_budget_tokens.size(), n_layers));
  ARKVALE_RETURN_IF_ERROR(CheckListLength("layer top-k", layer_topk_pages.size(), n_layers));
  if (policy == KvPolicyKind::kFull) return OkStatus();
  const int32_t topk_pages = topk.kind == TopkRule::Kind::kPages ? topk.pages : 0;
  ARKVALE_RETURN_IF_ERROR(CheckBudget(*this, budget_tokens, topk_pages, -1));
  if (layer_budget_tokens.empty() && layer_topk_pages.empty()) return OkStatus();
  for (int32_t l = 0; l < n_layers; ++l) {
    const int64_t budget = layer_budget_tokens.empty() ? 0 : layer_budget_tokens[l];
    const int32_t pages = layer_topk_pages.empty() ? 0 : layer_topk_pages[l];
    if (pages < 0) {
      return InvalidArgument("top-k " + std::to_string(pages) + " pages < 0" + LayerNote(l) + ": use 0 or more");
    }
    ARKVALE_RETURN_IF_ERROR(
        CheckBudget(*this, budget == 0 ? budget_tokens : budget, pages == 0 ? topk_pages : pages, l));
  }
  return OkStatus();
}

CombineKind KvOptions::ResolvedCombine() const {
  if (combine != CombineKind::kAuto) return combine;
  const DigestKind kind = ResolvedDigest();
  return kind == DigestKind::kCode1 || kind == DigestKind::kCode2 ? CombineKind::kSoftmaxPinned : CombineKind::kMean;
}

DigestKind KvOptions::ResolvedDigest() const {
  return policy == KvPolicyKind::kQuest ? DigestKind::kCuboidMax : digest;
}

bool KvOptions::ReadsZone() const { return policy == KvPolicyKind::kArkvale && zone_tokens > 0; }

bool KeepsAllTokens(KvPolicyKind kind) {
  switch (kind) {
    case KvPolicyKind::kFull:
    case KvPolicyKind::kArkvale:
    case KvPolicyKind::kQuest: return true;
    case KvPolicyKind::kStreaming:
    case KvPolicyKind::kH2o:
    case KvPolicyKind::kTova:
    case KvPolicyKind::kSnapkv:
    case KvPolicyKind::kPyramidkv:
    case KvPolicyKind::kXkv: return false;
  }
  return false;
}

bool JudgesByWindow(KvPolicyKind kind) {
  return kind == KvPolicyKind::kSnapkv || kind == KvPolicyKind::kPyramidkv || kind == KvPolicyKind::kXkv;
}

bool BudgetsPages(KvPolicyKind kind) { return kind == KvPolicyKind::kArkvale || kind == KvPolicyKind::kQuest; }

std::string_view KvPolicyName(KvPolicyKind kind) { return NameOf(kPolicies, kind); }

Result<KvPolicyKind> ParseKvPolicy(std::string_view name) {
  KvPolicyKind kind{};
  ARKVALE_RETURN_IF_ERROR(Lookup(kPolicies, "policy", name, kind));
  return kind;
}

std::string_view KvTypeName(KvType type) { return NameOf(kTypes, type); }

Result<KvType> ParseKvType(std::string_view name) {
  KvType type{};
  ARKVALE_RETURN_IF_ERROR(Lookup(kTypes, "KV type", name, type));
  return type;
}

std::string_view DigestName(DigestKind kind) { return NameOf(kDigests, kind); }

Result<DigestKind> ParseDigest(std::string_view name) {
  DigestKind kind{};
  ARKVALE_RETURN_IF_ERROR(Lookup(kDigests, "digest", name, kind));
  return kind;
}

Status SetKvOption(KvOptions& options, std::string_view name, std::string_view value) {
  if (name == "combine") return Lookup(kCombines, name, value, options.combine);
  if (name == "attend") return Lookup(kAttends, name, value, options.attend);
  if (name == "window-exit") return Lookup(kWindowExits, name, value, options.window_exit);
  if (name == "digest-type") return Lookup(kDigestTypes, name, value, options.digest_type);
  if (name == "rank-every") return ParseCount(name, value, 1, kMaxRankEvery, options.rank_every);
  if (name == "zone") return ParseZone(name, value, options.zone_tokens);
  if (name == "zone-v") return ParseCount(name, value, 2, 4, options.zone_value_bits);
  if (name == "streaming-sinks") return ParseCount(name, value, 0, kMaxCount, options.streaming_sinks);
  if (name == "h2o-heavy") return ParseShare(name, value, options.h2o_heavy);
  if (name == "h2o-init") return Lookup(kH2oInits, name, value, options.h2o_init);
  if (name == "snap-window") return ParseCount(name, value, 1, kMaxSnapWindow, options.snap_window);
  if (name == "snap-kernel") return ParseCount(name, value, 1, kMaxCount, options.snap_kernel);
  if (name == "snap-pooling") return Lookup(kSnapPoolings, name, value, options.snap_pooling);
  if (name == "pyramid-beta") return ParseCount(name, value, 1, kMaxCount, options.pyramid_beta);
  return InvalidArgument(
      "option '" + std::string(name) +
      "' is unknown: use one of combine, attend, window-exit, digest-type, rank-every, zone, "
      "zone-v, streaming-sinks, h2o-heavy, h2o-init, snap-window, snap-kernel, snap-pooling, pyramid-beta");
}

}  // namespace arkvale
