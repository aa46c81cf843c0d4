#include "text/sampler.h"

#include <llama.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "base/check.h"

namespace arkvale {
namespace {

struct ChainDeleter {
  void operator()(llama_sampler* chain) const { llama_sampler_free(chain); }
};

constexpr uint32_t kExponent = 0x7f800000u;  // all ones: infinity or NaN

bool AllFinite(std::span<const float> values) {
  uint32_t bad = 0;  // no early exit, so that it vectorises
  for (const float v : values) bad |= static_cast<uint32_t>((std::bit_cast<uint32_t>(v) & kExponent) == kExponent);
  return bad == 0;
}

}  // namespace

struct Sampler::Impl {
  std::unique_ptr<llama_sampler, ChainDeleter> chain;  // null: greedy
  std::vector<llama_token_data> candidates;
};

Result<std::unique_ptr<Sampler>> Sampler::Create(const SamplingOptions& options) {
  if (!std::isfinite(options.temperature) || options.temperature < 0) {
    return InvalidArgument("temperature " + std::to_string(options.temperature) + ": use 0 (greedy) or more");
  }
  if (options.top_k < 0) return InvalidArgument("top_k " + std::to_string(options.top_k) + ": use 0 (off) or more");
  if (!(options.top_p >= 0 && options.top_p <= 1)) {
    return InvalidArgument("top_p " + std::to_string(options.top_p) + ": use 0 to 1 (off)");
  }
  if (!(options.min_p >= 0 && options.min_p <= 1)) {
    return InvalidArgument("min_p " + std::to_string(options.min_p) + ": use 0 (off) to 1");
  }
  auto impl = std::make_unique<Impl>();
  if (options.temperature > 0) {
    impl->chain.reset(llama_sampler_chain_init(llama_sampler_chain_default_params()));
    const auto add = [&](llama_sampler* sampler) { llama_sampler_chain_add(impl->chain.get(), sampler); };
    if (options.top_k > 0) add(llama_sampler_init_top_k(options.top_k));
    if (options.top_p < 1) add(llama_sampler_init_top_p(options.top_p, 1));
    if (options.min_p > 0) add(llama_sampler_init_min_p(options.min_p, 1));
    add(llama_sampler_init_temp(options.temperature));
    // libllama takes its default seed as "draw one": no seed of ours may mean that.
    add(llama_sampler_init_dist(options.seed == LLAMA_DEFAULT_SEED ? options.seed - 1 : options.seed));
  }
  return std::unique_ptr<Sampler>(new Sampler(std::move(impl)));
}

Sampler::Sampler(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Sampler::~Sampler() = default;

Result<int32_t> Sampler::Sample(std::span<const float> logits) {
  ARKVALE_CHECK(!logits.empty());
  if (!AllFinite(logits)) {
    const auto bad = std::ranges::find_if_not(logits, [](float v) { return std::isfinite(v); });
    return Internal("the logit of token " + std::to_string(bad - logits.begin()) + " is " + std::to_string(*bad) +
                    ": the model file or a kernel is broken");
  }
  if (impl_->chain == nullptr) {
    return static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
  }
  std::vector<llama_token_data>& candidates = impl_->candidates;
  candidates.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) candidates[i] = {static_cast<llama_token>(i), logits[i], 0.0f};
  llama_token_data_array array = {candidates.data(), candidates.size(), -1, false};
  llama_sampler_apply(impl_->chain.get(), &array);
  if (array.selected < 0) return Internal("the sampler chain chose no token");
  const llama_token id = array.data[array.selected].id;
  llama_sampler_accept(impl_->chain.get(), id);
  return id;
}

}  // namespace arkvale
