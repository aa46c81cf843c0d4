#include "tools/eval/page_probe.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kv/select.h"
#include "ops/attention_mass.h"
#include "ops/digest.h"
#include "ops/page_scores.h"

namespace arkvale::tools {
namespace {

double LogSumExp(std::span<const float> values) {
  const double top = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (const float x : values) sum += x == top ? 1.0 : std::exp(x - top);
  return top + std::log(sum);
}

// The mean of each group's rows; a single row is taken as it is, as in the cache.
GroupScores CombineRows(std::span<const float> rows, int32_t n_rows, int32_t n_groups) {
  const size_t n = rows.size() / n_rows, rows_per_group = n_rows / n_groups;
  GroupScores scores;
  for (int32_t g = 0; g < n_groups; ++g) {
    const auto group = rows.subspan(g * rows_per_group * n, rows_per_group * n);
    auto& out = scores.emplace_back(group.begin(), group.begin() + static_cast<int64_t>(n));
    if (rows_per_group == 1) continue;
    CombineScores({.kind = CombineKind::kMean, .head_scores = group, .n_heads = static_cast<int32_t>(rows_per_group)},
                  out, {});
  }
  return scores;
}

}  // namespace

GroupScores TrueGroupScores(const LayerSight& sight, int32_t group_heads) {
  return CombineRows(sight.max_qk, sight.n_q_heads, sight.n_kv_heads / group_heads);
}

GroupScores EstimatedGroupScores(const LayerSight& sight, size_t digest, int32_t group_heads) {
  const std::vector<float>& rows = sight.estimates[digest];
  const auto n_rows = sight.n_filled == 0 ? sight.n_kv_heads : static_cast<int32_t>(rows.size() / sight.n_filled);
  return CombineRows(rows, n_rows, sight.n_kv_heads / group_heads);
}

std::vector<std::vector<double>> GroupMasses(const LayerSight& sight, int32_t group_heads) {
  const size_t n = sight.n_pages, heads = static_cast<size_t>(group_heads) * sight.q_per_kv();
  std::vector<std::vector<double>> masses(sight.n_kv_heads / group_heads, std::vector<double>(n));
  for (size_t h = 0; h < static_cast<size_t>(sight.n_q_heads); ++h) {
    const auto lse = sight.lse.subspan(h * n, n);
    const double total = LogSumExp(lse);
    for (size_t page = 0; page < n; ++page) {
      masses[h / heads][page] += std::exp(lse[page] - total) / static_cast<double>(heads);
    }
  }
  return masses;
}

PageProbe::PageProbe(const OpContext& ctx, const KvShape& shape, ProbeNeeds needs, std::vector<int32_t> layers,
                     Sink sink)
    : ctx_(ctx), shape_(shape), needs_(std::move(needs)), layers_(std::move(layers)), sink_(std::move(sink)) {}

Status PageProbe::OnQuery(const KvObservation& seen) {
  if (std::find(layers_.begin(), layers_.end(), seen.layer) == layers_.end()) return OkStatus();
  const KvLayerShape& shape = shape_.layers[seen.layer];
  const int32_t p = needs_.page_tokens;
  LayerSight sight;
  sight.layer = seen.layer;
  sight.prefill_end = seen.phase == KvPhase::kPrefillLast;
  sight.n_tokens = seen.n_tokens;
  sight.n_pages = static_cast<int32_t>((seen.n_tokens + p - 1) / p);
  sight.n_filled = static_cast<int32_t>(seen.n_tokens / p);
  sight.n_q_heads = shape.n_q_heads;
  sight.n_kv_heads = shape.n_kv_heads;
  PagedKv layout = seen.kv;
  layout.page_tokens = p;
  const int32_t parts = layout.block_tokens / p;
  pages_.Reset(layout);
  pages_.BeginRow(0, seen.q());
  for (int32_t page = 0; page < sight.n_pages; ++page) {
    pages_.AddPage(seen.kv.page_ids[page / parts] * parts + page % parts, int64_t{page} * p);
  }
  pages_.EndRow(static_cast<int32_t>((seen.n_tokens - 1) % p) + 1);
  if (needs_.page_scores || needs_.token_mass) ARKVALE_RETURN_IF_ERROR(ScorePages(seen, sight));
  if (needs_.token_mass) ARKVALE_RETURN_IF_ERROR(MeasureMass(seen, sight));
  sight.estimates.resize(needs_.digests.size());
  for (size_t d = 0; d < needs_.digests.size(); ++d) ARKVALE_RETURN_IF_ERROR(Estimate(seen, d, sight));
  sink_(sight);
  return OkStatus();
}

Status PageProbe::ScorePages(const KvObservation& seen, LayerSight& sight) {
  max_qk_.resize(int64_t{sight.n_q_heads} * sight.n_pages);
  lse_.resize(max_qk_.size());
  PageScoresArgs args = pages_.ScoreArgs(shape_.layers[seen.layer]);
  float* const max_qk = max_qk_.data();
  float* const lse = lse_.data();
  args.max_qk = &max_qk;
  args.lse = &lse;
  ARKVALE_RETURN_IF_ERROR(PageScores(ctx_, args));
  sight.max_qk = max_qk_;
  sight.lse = lse_;
  return OkStatus();
}

Status PageProbe::MeasureMass(const KvObservation& seen, LayerSight& sight) {
  const KvLayerShape& shape = shape_.layers[seen.layer];
  std::vector<float> total(shape.n_q_heads);
  for (int32_t h = 0; h < shape.n_q_heads; ++h) {
    total[h] = static_cast<float>(LogSumExp(sight.lse.subspan(int64_t{h} * sight.n_pages, sight.n_pages)));
  }
  head_mass_.assign(shape.n_kv_heads * seen.n_tokens, 0);
  const int64_t q_cols = int64_t{shape.n_q_heads} * shape.head_dim_k;
  std::vector<float> q(seen.q(), seen.q() + q_cols);
  ARKVALE_RETURN_IF_ERROR(AttentionMass(ctx_, {.kv = seen.kv,
                                               .q_heads_per_kv_head = shape.q_per_kv(),
                                               .scale = shape.scale,
                                               .softcap = shape.softcap,
                                               .q_position0 = seen.n_tokens - 1,
                                               .q = {q.data(), 1, q_cols, q_cols},
                                               .lse = total.data(),
                                               .mass = head_mass_.data(),
                                               .mass_stride = seen.n_tokens}));
  token_mass_.assign(seen.n_tokens, 0);
  for (int32_t e = 0; e < shape.n_kv_heads; ++e) {
    for (int64_t t = 0; t < seen.n_tokens; ++t) {
      token_mass_[t] += head_mass_[e * seen.n_tokens + t] / static_cast<float>(shape.n_kv_heads);
    }
  }
  sight.token_mass = token_mass_;
  return OkStatus();
}

Status PageProbe::Estimate(const KvObservation& seen, size_t digest, LayerSight& sight) {
  const KvLayerShape& shape = shape_.layers[seen.layer];
  const DigestKind kind = needs_.digests[digest];
  std::vector<DigestStore>& stores = digests_[seen.layer];
  if (stores.size() == digest) {
    ARKVALE_ASSIGN_OR_RETURN(const DigestLayout layout,
                             MakeDigestLayout(kind, needs_.digest_type, needs_.page_tokens, shape.head_dim_k));
    stores.emplace_back(layout, ValueCodeLayout{}, shape.n_kv_heads);
  }
  ARKVALE_RETURN_IF_ERROR(BuildDigests(seen, kind, sight.n_filled, stores[digest]));
  const bool sums = !IsCode(kind);
  const int64_t rows_per_head = sums ? 1 : shape.q_per_kv(), n = sight.n_filled;
  std::vector<float>& scores = sight.estimates[digest];
  scores.resize(shape.n_kv_heads * rows_per_head * n);
  if (n == 0) return OkStatus();
  std::vector<DigestScoreItem> items;
  for (int32_t head = 0; head < shape.n_kv_heads; ++head) {
    DigestScoreItem& item = items.emplace_back(stores[digest].ScoreItem(head, n));
    item.q = seen.q() + int64_t{head} * shape.q_per_kv() * shape.head_dim_k;
    item.scores = scores.data() + head * rows_per_head * n;
  }
  return DigestScore(ctx_, {.kind = kind,
                            .type = needs_.digest_type,
                            .page_tokens = needs_.page_tokens,
                            .head_dim = shape.head_dim_k,
                            .n_q_heads = shape.q_per_kv(),
                            .sum_heads = sums,
                            .items = items});
}

Status PageProbe::BuildDigests(const KvObservation& seen, DigestKind kind, int32_t n_filled, DigestStore& store) {
  const auto first = store.n_pages();
  if (first >= n_filled) return OkStatus();
  store.Resize(n_filled);
  const PagedKv kv = pages_.kv();
  std::vector<DigestBuildItem> items;
  for (int64_t page = first; page < n_filled; ++page) {
    for (int32_t head = 0; head < kv.heads_per_row; ++head) {
      items.push_back(store.BuildItem(head, page, KeyPage(kv, kv.page_ids[page], head)));
    }
  }
  return DigestBuild(ctx_, {.kind = kind,
                            .key_dtype = kv.dtype,
                            .type = needs_.digest_type,
                            .page_tokens = needs_.page_tokens,
                            .head_dim = kv.head_dim_k,
                            .items = items});
}

}  // namespace arkvale::tools
