#include "model/transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

#include "base/bad_alloc.h"
#include "model/batch_plan.h"
#include "model/ffn.h"
#include "model/fingerprint.h"
#include "model/gguf_check.h"
#include "model/model_file.h"
#include "model/packed_weights.h"
#include "model/project.h"
#include "model/weights.h"
#include "ops/embed.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"

namespace arkvale {

namespace {

// Moves the rows listed (increasing) to the front.
void Compact(const MatrixView& m, std::span<const int64_t> rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] == static_cast<int64_t>(i)) continue;
    std::memcpy(m.row(static_cast<int64_t>(i)), m.row(rows[i]), static_cast<size_t>(m.cols) * sizeof(float));
  }
}

void Softcap(const OpContext& ctx, float cap, const MatrixView& m) {
  constexpr int64_t kStrip = 4096;
  const int64_t strips = (m.cols + kStrip - 1) / kStrip;
  ctx.pool->ParallelFor(m.rows * strips, [&](int64_t i, int) {
    float* row = m.row(i / strips);
    const int64_t begin = i % strips * kStrip, end = std::min(m.cols, begin + kStrip);
    for (int64_t j = begin; j < end; ++j) row[j] = cap * std::tanh(row[j] / cap);
  });
}

}  // namespace

// Where a layer's K and V go, and the batch's rows of the residual stream.
struct LayerPass {
  KvCache& cache;
  int32_t cache_layer = 0;
  MatrixView x;  // [plan.all.n, d_model]
};

struct Transformer::Impl {
  explicit Impl(ModelFile f) : file(std::move(f)) {}

  // Constant after Load and PackWeights.
  ModelFile file;
  ModelConfig config;
  Weights weights;
  std::optional<PackedWeights> packed;
  int64_t packed_bytes = 0;
  std::vector<RopeParams> ropes;      // distinct ones
  std::vector<size_t> rope_of_layer;  // index in ropes

  // One batch's; memory is kept between batches.
  BatchPlan plan;
  std::vector<int64_t> positions;
  Activation x;  // residual stream
  Activation h;  // normed rows
  Activation y;  // what is normed before it joins the residual stream, where there are post norms
  Activation q, k, v, attn;
  Ffn ffn;
  std::vector<Activation> angles;  // one per entry of ropes

  void FindRopes();
  void Reserve();
  // Begin, `work` with the positions of the batch, then Commit, or Abort where it fails.
  template <typename Work>
  Status InBatch(KvCache& cache, const Work& work);
  Status Run(const OpContext& ctx, KvCache& cache, const MatrixView& logits);
  Status RunLayer(const OpContext& ctx, const LayerPass& pass, int32_t l);
  Status RunByLayer(const OpContext& ctx, std::span<const int32_t> ids, int64_t n_chunks, const OpenLayer& open,
                    const std::function<Status(int64_t done)>& progress);
  Status RunChunkOfLayer(const OpContext& ctx, const LayerCache& to, int32_t l, const ForwardItem& item,
                         const MatrixView& x_rows);
};

void Transformer::Impl::FindRopes() {
  for (LayerConfig& layer : config.layers) {
    layer.rope.freq_factors = weights.rope_factors;
    const auto at = std::find(ropes.begin(), ropes.end(), layer.rope);
    rope_of_layer.push_back(static_cast<size_t>(at - ropes.begin()));
    if (at == ropes.end()) ropes.push_back(layer.rope);
  }
  angles.resize(ropes.size());
}

void Transformer::Impl::Reserve() {
  const int64_t n = plan.all.n;
  positions.resize(static_cast<size_t>(n));
  x.Reserve(n, config.d_model);
  h.Reserve(n, config.d_model);
  if (config.post_norms) y.Reserve(n, config.d_model);
  q.Reserve(n, int64_t{config.n_q_heads} * config.head_dim_k);
  k.Reserve(n, int64_t{config.n_kv_heads} * config.head_dim_k);
  v.Reserve(n, int64_t{config.n_kv_heads} * config.head_dim_v);
  attn.Reserve(n, int64_t{config.n_q_heads} * config.head_dim_v);
  ffn.Reserve(config, n);
  for (size_t i = 0; i < ropes.size(); ++i) angles[i].Reserve(n, ropes[i].n_rot);
}

template <typename Work>
Status Transformer::Impl::InBatch(KvCache& cache, const Work& work) {
  ARKVALE_RETURN_IF_ERROR(cache.Begin(plan.kv_items));
  size_t row = 0;
  for (const KvBatchItem& item : plan.kv_items) {
    const int64_t committed = cache.n_tokens(item.seq);
    for (int32_t i = 0; i < item.n_new; ++i) positions[row++] = committed + i;
  }
  Status status = CatchBadAlloc(work);
  if (status.ok()) status = cache.Commit();
  if (!status.ok()) cache.Abort();
  return status;
}

Status Transformer::Impl::RunLayer(const OpContext& ctx, const LayerPass& pass, int32_t l) {
  const LayerWeights& w = weights.layers[static_cast<size_t>(l)];
  const RopeParams& rope = config.layers[static_cast<size_t>(l)].rope;
  const int64_t n = plan.all.n;

  ARKVALE_RETURN_IF_ERROR(RmsNorm(ctx, pass.x, w.attn_norm, config.rms_eps, h.Rows(n)));
  ARKVALE_RETURN_IF_ERROR(
      Project(ctx, plan.all, h.Rows(n), {Target(w.q, q.Rows(n)), Target(w.k, k.Rows(n)), Target(w.v, v.Rows(n))}));
  if (config.qk_norm) {
    const MatrixView q_heads = q.Heads(n, config.n_q_heads), k_heads = k.Heads(n, config.n_kv_heads);
    ARKVALE_RETURN_IF_ERROR(RmsNorm(ctx, q_heads, w.q_norm, config.rms_eps, q_heads));
    ARKVALE_RETURN_IF_ERROR(RmsNorm(ctx, k_heads, w.k_norm, config.rms_eps, k_heads));
  }
  const MatrixView angle = angles[rope_of_layer[static_cast<size_t>(l)]].Rows(n);
  ARKVALE_RETURN_IF_ERROR(Rope(ctx, rope.kind, rope.n_rot, config.head_dim_k, angle, q.Rows(n)));
  ARKVALE_RETURN_IF_ERROR(Rope(ctx, rope.kind, rope.n_rot, config.head_dim_k, angle, k.Rows(n)));

  ARKVALE_RETURN_IF_ERROR(pass.cache.Append(pass.cache_layer, k.Rows(n), v.Rows(n)));
  ARKVALE_RETURN_IF_ERROR(pass.cache.Attend(pass.cache_layer, q.Rows(n), attn.Rows(n)));

  // After its attention the last layer is needed only where logits are.
  const bool last = l + 1 == config.n_layers;
  const RowSet& rows = last ? plan.wanted : plan.all;
  if (last) {
    Compact(pass.x, plan.wanted_rows);
    Compact(attn.Rows(n), plan.wanted_rows);
  }
  if (rows.n == 0) return OkStatus();

  const MatrixView residual{pass.x.data, rows.n, pass.x.cols, pass.x.stride}, normed = h.Rows(rows.n);
  // Both halves of a layer add to the residual stream, through a norm where there are post norms.
  const bool direct = !config.post_norms;
  const MatrixView out = direct ? residual : y.Rows(rows.n);
  ARKVALE_RETURN_IF_ERROR(Project(ctx, rows, attn.Rows(rows.n), {Target(w.o, out, direct)}));
  if (!direct) ARKVALE_RETURN_IF_ERROR(RmsNorm(ctx, out, w.attn_post_norm, config.rms_eps, residual, true));
  ARKVALE_RETURN_IF_ERROR(RmsNorm(ctx, residual, w.ffn_norm, config.rms_eps, normed));
  ARKVALE_RETURN_IF_ERROR(ffn.Run(ctx, config, rows, w, normed, out, direct));
  if (!direct) ARKVALE_RETURN_IF_ERROR(RmsNorm(ctx, out, w.ffn_post_norm, config.rms_eps, residual, true));
  return OkStatus();
}

Status Transformer::Impl::Run(const OpContext& ctx, KvCache& cache, const MatrixView& logits) {
  ThreadPool::Region region(*ctx.pool);
  const int64_t n = plan.all.n, n_wanted = plan.wanted.n;
  for (size_t i = 0; i < ropes.size(); ++i) {
    ARKVALE_RETURN_IF_ERROR(RopeAngles(ctx, ropes[i], positions, angles[i].Rows(n)));
  }
  ARKVALE_RETURN_IF_ERROR(Embed(ctx, weights.embedding, plan.ids, config.embedding_scale, x.Rows(n)));
  for (int32_t l = 0; l < config.n_layers; ++l) {
    ARKVALE_RETURN_IF_ERROR(RunLayer(ctx, {.cache = cache, .cache_layer = l, .x = x.Rows(n)}, l));
  }
  if (n_wanted == 0) return OkStatus();
  ARKVALE_RETURN_IF_ERROR(RmsNorm(ctx, x.Rows(n_wanted), weights.output_norm, config.rms_eps, h.Rows(n_wanted)));
  ARKVALE_RETURN_IF_ERROR(Project(ctx, plan.output, h.Rows(n_wanted), {Target(weights.output, logits)}));
  if (config.final_softcap > 0) Softcap(ctx, config.final_softcap, logits);
  return OkStatus();
}

Status Transformer::Impl::RunChunkOfLayer(const OpContext& ctx, const LayerCache& to, int32_t l,
                                          const ForwardItem& item, const MatrixView& x_rows) {
  ARKVALE_RETURN_IF_ERROR(plan.Set({&item, 1}, config.n_vocab));
  Reserve();
  const size_t rope = rope_of_layer[static_cast<size_t>(l)];
  return InBatch(*to.cache, [&] {
    ThreadPool::Region region(*ctx.pool);
    ARKVALE_RETURN_IF_ERROR(RopeAngles(ctx, ropes[rope], positions, angles[rope].Rows(plan.all.n)));
    if (l == 0) ARKVALE_RETURN_IF_ERROR(Embed(ctx, weights.embedding, plan.ids, config.embedding_scale, x_rows));
    return RunLayer(ctx, {.cache = *to.cache, .cache_layer = 0, .x = x_rows}, l);
  });
}

Status Transformer::Impl::RunByLayer(const OpContext& ctx, std::span<const int32_t> ids, int64_t n_chunks,
                                     const OpenLayer& open, const std::function<Status(int64_t done)>& progress) {
  const auto n = static_cast<int64_t>(ids.size());
  Activation hidden;
  hidden.Reserve(n, config.d_model);
  const MatrixView rows = hidden.Rows(n);
  for (int32_t l = 0; l < config.n_layers; ++l) {
    ARKVALE_ASSIGN_OR_RETURN(const LayerCache to, open(l));
    if (to.cache->shape().n_layers() != 1) {
      return InvalidArgument("a cache of " + std::to_string(to.cache->shape().n_layers()) +
                             " layers for a pass layer by layer: give one of 1");
    }
    for (int64_t c = 0; c < n_chunks; ++c) {
      const int64_t begin = c * n / n_chunks, end = (c + 1) * n / n_chunks;
      const ForwardItem item{.seq = to.seq,
                             .tokens = ids.subspan(begin, end - begin),
                             .phase = c + 1 == n_chunks ? KvPhase::kPrefillLast : KvPhase::kPrefill,
                             .logits = LogitsWanted::kNone};
      const MatrixView chunk{rows.row(begin), end - begin, rows.cols, rows.stride};
      ARKVALE_RETURN_IF_ERROR(RunChunkOfLayer(ctx, to, l, item, chunk));
      if (progress) ARKVALE_RETURN_IF_ERROR(progress(l * n + end));
    }
  }
  return OkStatus();
}

Transformer::Transformer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Transformer::~Transformer() = default;
const ModelConfig& Transformer::config() const { return impl_->config; }
int64_t Transformer::weight_bytes() const { return impl_->weights.total_bytes; }
int64_t Transformer::step_bytes() const { return impl_->weights.step_bytes; }
std::string Transformer::fingerprint() const { return Fingerprint(impl_->file.view()); }

int64_t Transformer::packed_bytes() const { return impl_->packed_bytes; }

int64_t Transformer::packable_bytes() const {
  return impl_->packed ? 0 : PackedWeights::Bytes(impl_->config, impl_->weights);
}

Status Transformer::PackWeights(const OpContext& ctx) {
  const int64_t bytes = packable_bytes();
  if (bytes == 0) return OkStatus();
  ARKVALE_ASSIGN_OR_RETURN(impl_->packed, PackedWeights::Pack(*ctx.pool, impl_->config, impl_->weights));
  impl_->packed_bytes = bytes;
  return OkStatus();
}

Result<std::unique_ptr<Transformer>> Transformer::Load(const std::string& path, const RopeOverride& rope) {
  ARKVALE_ASSIGN_OR_RETURN(ModelFile file, ModelFile::Open(path));
  auto impl = std::make_unique<Impl>(std::move(file));
  const GgufView& view = impl->file.view();
  ARKVALE_RETURN_IF_ERROR(CheckGgufView(view));
  ARKVALE_ASSIGN_OR_RETURN(impl->config, ReadConfig(view, rope));
  ARKVALE_ASSIGN_OR_RETURN(impl->weights, BindWeights(view, impl->config));
  impl->FindRopes();
  return std::unique_ptr<Transformer>(new Transformer(std::move(impl)));
}

Status Transformer::Forward(const OpContext& ctx, KvCache& cache, std::span<const ForwardItem> items,
                            std::vector<float>& logits) {
  const ModelConfig& config = impl_->config;
  if (cache.shape().n_layers() != config.n_layers) {
    return InvalidArgument("a cache of " + std::to_string(cache.shape().n_layers()) + " layers for a model of " +
                           std::to_string(config.n_layers));
  }
  BatchPlan& plan = impl_->plan;
  try {
    ARKVALE_RETURN_IF_ERROR(plan.Set(items, config.n_vocab));
    impl_->Reserve();
    logits.resize(static_cast<size_t>(plan.wanted.n) * static_cast<size_t>(config.n_vocab));
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory for the activations of " + std::to_string(plan.all.n) + " tokens");
  }
  if (plan.all.n == 0) return OkStatus();

  const MatrixView out{logits.data(), plan.wanted.n, config.n_vocab, config.n_vocab};
  return impl_->InBatch(cache, [&] { return impl_->Run(ctx, cache, out); });
}

Status Transformer::ForwardByLayer(const OpContext& ctx, std::span<const int32_t> ids, int64_t chunk_tokens,
                                   const OpenLayer& open, const std::function<Status(int64_t done)>& progress) {
  if (ids.empty()) return InvalidArgument("a pass of 0 tokens: give at least 1");
  if (chunk_tokens < 1) return InvalidArgument("chunks of " + std::to_string(chunk_tokens) + " tokens: use at least 1");
  const auto n = static_cast<int64_t>(ids.size());
  return CatchBadAlloc(
      [&] { return impl_->RunByLayer(ctx, ids, (n + chunk_tokens - 1) / chunk_tokens, open, progress); });
}

}  // namespace arkvale
