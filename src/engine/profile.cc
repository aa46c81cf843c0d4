#include "engine/profile.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/bad_alloc.h"
#include "engine/memory_check.h"
#include "kv/block_pool.h"
#include "kv/observer.h"
#include "ops/window_scores.h"

namespace arkvale {
namespace {

// The last chunk must hold the window: chunks have about the same length, so none of several is below half of this.
int64_t ChunkTokens(const Runtime& runtime, const ProfileOptions& options) {
  return std::max<int64_t>(runtime.prefill_chunk(), int64_t{2} * options.window);
}

int64_t LayerKvBytes(const KvShape& shape, int64_t n_tokens) {
  int64_t most = 0;
  for (const KvLayerShape& layer : shape.layers) most = std::max(most, layer.token_bytes(shape.dtype));
  return InWholeBlocks(n_tokens) * most;
}

// The caches of single layers, one alive at a time, and what is read off each when its last chunk is attended.
class LayerWatch : public KvObserver {
 public:
  LayerWatch(Runtime& runtime, const ProfileOptions& options, int64_t n_tokens, const LayerScoresSink& sink)
      : runtime_(runtime), options_(options), n_tokens_(n_tokens), sink_(sink) {}

  Result<Transformer::LayerCache> Open(int32_t layer) {
    layer_ = layer;
    cache_.reset();
    const KvShape& model = runtime_.cache().shape();
    KvCache::Config config;
    config.shape = {.layers = {model.layers[static_cast<size_t>(layer)]}, .dtype = model.dtype};
    ARKVALE_ASSIGN_OR_RETURN(cache_, KvCache::Make(std::move(config), runtime_.op_context()));
    cache_->SetObserver(this);
    KvOptions options;
    options.policy = KvPolicyKind::kFull;
    ARKVALE_ASSIGN_OR_RETURN(const SeqId seq, cache_->Create(options));
    return Transformer::LayerCache{cache_.get(), seq};
  }

  Status OnQuery(const KvObservation& seen) override {
    const KvLayerShape& shape = cache_->shape().layers[0];
    const MatrixView& q = seen.queries;
    const int64_t w = options_.window;
    scores_.resize(static_cast<size_t>(shape.n_kv_heads * (n_tokens_ - w)));
    ARKVALE_RETURN_IF_ERROR(WindowScores(runtime_.op_context(), {.kv = seen.kv,
                                                                 .q_heads_per_kv_head = shape.q_per_kv(),
                                                                 .scale = shape.scale,
                                                                 .softcap = shape.softcap,
                                                                 .n_tokens = n_tokens_,
                                                                 .q = {q.row(q.rows - w), w, q.cols, q.stride},
                                                                 .kernel = options_.kernel,
                                                                 .scores = scores_.data()}));
    return sink_({.layer = layer_, .n_kv_heads = shape.n_kv_heads, .scores = scores_});
  }

 private:
  Runtime& runtime_;
  const ProfileOptions options_;
  const int64_t n_tokens_;
  const LayerScoresSink& sink_;
  int32_t layer_ = 0;
  std::unique_ptr<KvCache> cache_;
  std::vector<float> scores_;
};

}  // namespace

int64_t ProfileBytes(const Runtime& runtime, int64_t n_tokens) {
  const ModelConfig& model = runtime.transformer().config();
  // Scores of the kv heads, and of the query heads before they are added up.
  const int64_t floats = int64_t{model.d_model} + model.n_kv_heads + model.n_q_heads;
  const int64_t chunk = std::min<int64_t>(n_tokens, runtime.prefill_chunk());
  return n_tokens * floats * int64_t{sizeof(float)} + LayerKvBytes(runtime.cache().shape(), n_tokens) +
         ActivationBytes(model, chunk);
}

Status ProfilePrompt(Runtime& runtime, std::span<const int32_t> ids, const ProfileOptions& options,
                     const LayerScoresSink& sink, const std::function<Status(int64_t done)>& progress) {
  const auto n = static_cast<int64_t>(ids.size());
  if (options.window < 1) {
    return InvalidArgument("a window of " + std::to_string(options.window) + " tokens: use 1 or more");
  }
  if (n <= options.window) {
    return InvalidArgument("a prompt of " + std::to_string(n) + " tokens is no longer than the window of " +
                           std::to_string(options.window) + " that judges it: give a longer one");
  }
  const int64_t kv_bytes = LayerKvBytes(runtime.cache().shape(), n);
  ARKVALE_RETURN_IF_ERROR(CheckMemory({.n_tokens = n,
                                       .kv_bytes = kv_bytes,
                                       .activation_bytes = ProfileBytes(runtime, n) - kv_bytes,
                                       .packed_weight_bytes = runtime.transformer().packed_bytes()},
                                      runtime.memory_limits()));
  return CatchBadAlloc([&] {
    LayerWatch watch(runtime, options, n, sink);
    return runtime.transformer().ForwardByLayer(
        runtime.op_context(), ids, ChunkTokens(runtime, options), [&](int32_t layer) { return watch.Open(layer); },
        progress);
  });
}

}  // namespace arkvale
