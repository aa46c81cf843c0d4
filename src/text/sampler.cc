#include "text/sampler.h"

#include <llama.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "base/check.h"
#include "text/grammar.h"

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

Status CheckOptions(const SamplingOptions& options) {
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
  return OkStatus();
}

}  // namespace

struct Sampler::Impl {
  std::unique_ptr<llama_sampler, ChainDeleter> chain;  // null: greedy
  std::unique_ptr<Grammar> grammar;                    // null: none
  std::vector<llama_token_data> candidates;

  void SetCandidates(std::span<const float> logits) {
    candidates.resize(logits.size());
    for (size_t i = 0; i < logits.size(); ++i) candidates[i] = {static_cast<llama_token>(i), logits[i], 0.0f};
  }
};

Result<std::unique_ptr<Sampler>> Sampler::Create(const SamplingOptions& options, const Tokenizer* tokenizer) {
  ARKVALE_RETURN_IF_ERROR(CheckOptions(options));
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
  if (tokenizer != nullptr) {
    ARKVALE_ASSIGN_OR_RETURN(impl->grammar, Grammar::Create(options, *tokenizer));
  } else if (!options.grammar.empty() || !options.json_schema.empty()) {
    return Internal("a grammar without a tokenizer");
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
  Impl& impl = *impl_;
  int32_t id = 0;
  if (impl.chain == nullptr) {
    id = static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
  } else {
    impl.SetCandidates(logits);
    ARKVALE_ASSIGN_OR_RETURN(id, Pick());
  }
  if (impl.grammar == nullptr) return id;
  ARKVALE_ASSIGN_OR_RETURN(const bool allowed, impl.grammar->Allows(id));
  if (!allowed) {
    impl.SetCandidates(logits);
    ARKVALE_RETURN_IF_ERROR(impl.grammar->Restrict(impl.candidates));
    std::erase_if(impl.candidates, [](const llama_token_data& c) { return !std::isfinite(c.logit); });
    if (impl.candidates.empty()) return InvalidArgument("the grammar allows no token of the vocabulary here");
    ARKVALE_ASSIGN_OR_RETURN(id, Pick());
  }
  ARKVALE_RETURN_IF_ERROR(impl.grammar->Accept(id));
  return id;
}

// Picks from the candidates, in order of their ids.
Result<int32_t> Sampler::Pick() {
  std::vector<llama_token_data>& candidates = impl_->candidates;
  if (impl_->chain == nullptr) return std::ranges::max_element(candidates, {}, &llama_token_data::logit)->id;
  llama_token_data_array array = {candidates.data(), candidates.size(), -1, false};
  llama_sampler_apply(impl_->chain.get(), &array);
  if (array.selected < 0) return Internal("the sampler chain chose no token");
  return array.data[array.selected].id;
}

}  // namespace arkvale
