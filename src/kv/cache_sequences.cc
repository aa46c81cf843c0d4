// KvCache's sequences: made, forked, dropped, described.
#include <algorithm>
#include <string>
#include <utility>

#include "base/bad_alloc.h"
#include "kv/cache.h"
#include "kv/cache_impl.h"

namespace arkvale {
namespace {

Status UnknownSequence(SeqId id) { return NotFound("no sequence " + std::to_string(id.value())); }

std::string MiB(int64_t bytes) { return std::to_string((bytes + (int64_t{1} << 20) - 1) >> 20) + " MiB"; }

// The first position that a sliding layer needs for tokens from n_tokens on.
int64_t WindowStart(int64_t n_tokens, int32_t window) { return std::max<int64_t>(0, n_tokens - window + 1); }

}  // namespace

double LayerState::HotTokens(int64_t n_tokens) const {
  if (pages == nullptr) return static_cast<double>(n_cells(n_tokens));
  const PageTable& table = pages->table();
  int64_t hot_pages = 0;
  for (int32_t g = 0; g < table.n_groups(); ++g) hot_pages += table.n_hot(g);
  // The last page, which may not be full, is always hot.
  const int64_t missing = int64_t{table.n_pages()} * pages->page_tokens() - n_tokens;
  return static_cast<double>(hot_pages * pages->page_tokens()) / table.n_groups() - static_cast<double>(missing);
}

Sequence::~Sequence() {
  for (size_t l = 0; l < layers.size(); ++l) {
    layers[l].pages.reset();  // waits for copies to and from the blocks
    for (const BlockId block : layers[l].list.blocks) pools[l].Release(block);
  }
  hot_budget.Give(hot_taken);
}

bool Sequence::TakeHot(int64_t n) {
  const int64_t bytes = hot_plan.Bytes(n);
  if (bytes > hot_taken) {
    if (!hot_budget.TryTake(bytes - hot_taken)) return false;
  } else {
    hot_budget.Give(hot_taken - bytes);
  }
  hot_taken = bytes;
  return true;
}

Status KvCache::Impl::HotFull(const Sequence& seq, int64_t n_tokens) const {
  return ResourceExhausted("hot KV memory is full: a sequence of " + std::to_string(n_tokens) + " tokens needs " +
                           MiB(seq.hot_plan.Bytes(n_tokens)) + ", others hold " +
                           MiB(hot_budget.used() - seq.hot_taken) + ", the limit is " + MiB(hot_budget.limit()) +
                           ": raise --kv-hot-mem, use a smaller --kv-budget, or drop sequences");
}

Sequence* KvCache::Impl::Find(SeqId id) {
  const auto it = sequences.find(id);
  return it == sequences.end() ? nullptr : it->second.get();
}

Status KvCache::Impl::CheckOptions(const KvOptions& options) const {
  const bool in_place = config.tier.reads_in_place();
  if (options.policy != KvPolicyKind::kFull && options.budget_tokens == kAutoBudget) {
    return InvalidArgument("budget auto is not a number of tokens yet: resolve it by BudgetForHotBytes");
  }
  if (!in_place && options.collect.column_sums) {
    return InvalidArgument("collect.column_sums needs RAM that is read in place, not device '" +
                           std::string(config.tier.hot_device->name()) + "'");
  }
  for (int32_t l = 0; l < config.shape.n_layers(); ++l) {
    const KvLayerShape& shape = config.shape.layers[l];
    // Sliding layers keep their window whatever the policy.
    if (options.policy == KvPolicyKind::kFull || shape.window > 0 || l < options.dense_layers) continue;
    ARKVALE_RETURN_IF_ERROR(options.Validate(config.shape.n_layers(), shape.n_kv_heads));
    if (in_place) continue;
    const bool drops = MakeTokenRule(options, l, 0, 1).budget > 0;
    if (!drops && MakePageBudget(options, l, in_place).evicts) continue;
    return InvalidArgument("policy " + std::string(KvPolicyName(options.policy)) +
                           (drops ? " drops single tokens" : " keeps every page hot") +
                           ": it needs RAM that is read in place, not device '" + config.tier.hot_device->name() +
                           "'; use policy arkvale or full");
  }
  return OkStatus();
}

Result<std::unique_ptr<Sequence>> KvCache::Impl::NewSequence(const KvOptions& options, int64_t n_tokens) {
  const bool in_place = config.tier.reads_in_place();
  ARKVALE_RETURN_IF_ERROR(CheckOptions(options));
  auto seq = std::make_unique<Sequence>(pools, hot_budget);
  ARKVALE_ASSIGN_OR_RETURN(seq->hot_plan, HotPlan::Make(config.shape, options, in_place));
  if (!seq->TakeHot(n_tokens)) return HotFull(*seq, n_tokens);
  seq->layers.resize(config.shape.n_layers());
  seq->options = options;
  const std::vector<TokenRule> rules = MakeTokenRules(config.shape, options);
  for (int32_t l = 0; l < config.shape.n_layers(); ++l) {
    const KvLayerShape& shape = config.shape.layers[l];
    LayerState& layer = seq->layers[l];
    if (shape.window > 0) continue;
    layer.queries = QueryRing(std::max({1, options.collect.last_queries, rules[l].n_queries()}));
    if (rules[l].budget > 0) {
      layer.tokens = std::make_unique<LayerTokens>(rules[l], shape.n_kv_heads);
      continue;
    }
    if (options.collect.column_sums) layer.sums = std::make_unique<TokenMass>(shape.n_kv_heads);
    if (!BudgetsPages(options.policy)) continue;
    const PageBudget budget = MakePageBudget(options, l, in_place);
    if (budget.pages == 0) continue;
    ARKVALE_ASSIGN_OR_RETURN(layer.pages, LayerPages::Make(Env(l), shape, options, budget));
  }
  return seq;
}

SeqId KvCache::Impl::Adopt(std::unique_ptr<Sequence> seq) {
  const SeqId id(next_id);
  sequences.emplace(id, std::move(seq));
  ++next_id;
  return id;
}

Result<SeqId> KvCache::Create(const KvOptions& options) {
  return CatchBadAlloc([&]() -> Result<SeqId> {
    ARKVALE_ASSIGN_OR_RETURN(auto seq, impl_->NewSequence(options, 0));
    return impl_->Adopt(std::move(seq));
  });
}

Status KvCache::Impl::CheckForkDepth(const Sequence& parent, int64_t n_tokens) const {
  if (n_tokens < 0 || n_tokens > parent.n_tokens) {
    return InvalidArgument("fork at depth " + std::to_string(n_tokens) + " of a sequence of " +
                           std::to_string(parent.n_tokens) + " tokens: use 0.." + std::to_string(parent.n_tokens));
  }
  for (size_t l = 0; l < parent.layers.size(); ++l) {
    const int32_t window = config.shape.layers[l].window;
    const int64_t held = parent.layers[l].list.first * kBlockTokens;
    if (window == 0 || WindowStart(n_tokens, window) >= held) continue;
    return InvalidArgument("fork at depth " + std::to_string(n_tokens) + ": layer " + std::to_string(l) +
                           " slides over " + std::to_string(window) + " tokens and holds none before " +
                           std::to_string(held) + "; use a depth of at least " + std::to_string(held + window - 1));
  }
  return OkStatus();
}

// The parent's blocks up to a depth that CheckForkDepth has accepted.
Status KvCache::Impl::ShareBlocks(Sequence& parent, int64_t n_tokens, Sequence& child) {
  child.n_tokens = n_tokens;
  for (size_t l = 0; l < child.layers.size(); ++l) {
    LayerState& from = parent.layers[l];
    LayerState& to = child.layers[l];
    if (from.pages != nullptr) ARKVALE_RETURN_IF_ERROR(from.pages->FlushToBlocks(from.list, parent.n_tokens));
    const int32_t window = config.shape.layers[l].window;
    const int64_t first = window > 0 ? WindowStart(n_tokens, window) / kBlockTokens : 0;
    const int64_t end = (std::min(n_tokens, from.n_cells(parent.n_tokens)) + kBlockTokens - 1) / kBlockTokens;
    const auto blocks = from.list.blocks.begin() - from.list.first;
    to.list.first = first;
    if (end > first) to.list.blocks.assign(blocks + first, blocks + end);
    for (const BlockId block : to.list.blocks) pools[l].AddRef(block);
    if (n_tokens < parent.n_tokens) continue;
    to.queries.CopyFrom(from.queries);
    const TokenMass* sums = from.sums_or_null();
    if (to.sums != nullptr && sums != nullptr && sums->n_rows() == n_tokens) to.sums->CopyFrom(*sums);
  }
  return OkStatus();
}

// What the layers of a child that shares its parent's blocks make of them.
Status KvCache::Impl::AdoptLayers(const Sequence& parent, Sequence& child) {
  const bool twin = child.n_tokens == parent.n_tokens && SameButCollect(parent.options, child.options);
  for (int32_t l = 0; l < config.shape.n_layers(); ++l) {
    LayerState& layer = child.layers[l];
    if (layer.pages != nullptr) {
      const float* q = layer.queries.n_known() > 0 ? layer.queries.Newest() : nullptr;
      ARKVALE_RETURN_IF_ERROR(layer.pages->Adopt(layer.list, child.n_tokens, q));
    } else if (layer.tokens != nullptr && twin) {
      layer.tokens->CopyFrom(*parent.layers[l].tokens);
    } else if (layer.tokens != nullptr) {
      ARKVALE_RETURN_IF_ERROR(ForkTokens(l, parent, child.n_tokens, layer));
    }
  }
  return OkStatus();
}

Result<SeqId> KvCache::Impl::ForkAt(SeqId parent_id, const KvOptions& options, int64_t n_tokens) {
  Sequence* parent = Find(parent_id);
  if (parent == nullptr) return UnknownSequence(parent_id);
  if (!batch.empty()) return InvalidArgument("a sequence cannot be forked inside a batch");
  if (!parent->broken.ok()) return parent->broken;
  ARKVALE_RETURN_IF_ERROR(CheckForkDepth(*parent, n_tokens));
  ARKVALE_RETURN_IF_ERROR(CheckForkTokens(*parent, options, n_tokens));
  ARKVALE_ASSIGN_OR_RETURN(auto seq, NewSequence(options, n_tokens));
  ARKVALE_RETURN_IF_ERROR(ShareBlocks(*parent, n_tokens, *seq));
  if (n_tokens > 0) ARKVALE_RETURN_IF_ERROR(AdoptLayers(*parent, *seq));
  UpdatePeak(*seq);
  return Adopt(std::move(seq));
}

Result<SeqId> KvCache::Fork(SeqId parent, const KvOptions& options) {
  return CatchBadAlloc([&] { return impl_->ForkAt(parent, options, std::max<int64_t>(0, n_tokens(parent))); });
}

Result<SeqId> KvCache::ForkAt(SeqId parent, const KvOptions& options, int64_t n_tokens) {
  return CatchBadAlloc([&] { return impl_->ForkAt(parent, options, n_tokens); });
}

int64_t KvCache::MinForkDepth(SeqId id) const {
  const Sequence* seq = impl_->Find(id);
  if (seq == nullptr) return -1;
  int64_t depth = 0;
  for (const LayerState& layer : seq->layers) {
    if (layer.tokens != nullptr && !layer.tokens->holds_all()) return seq->n_tokens;
  }
  for (size_t l = 0; l < seq->layers.size(); ++l) {
    const int32_t window = impl_->config.shape.layers[l].window;
    const int64_t held = seq->layers[l].list.first * kBlockTokens;
    if (window > 0 && held > 0) depth = std::max(depth, held + window - 1);
  }
  return depth;
}

Status KvCache::Impl::Drop(SeqId id) {
  const Sequence* seq = Find(id);
  if (seq == nullptr) return UnknownSequence(id);
  for (const BatchRows& rows : batch) {
    if (rows.seq == seq) return InvalidArgument("a sequence cannot be dropped inside its batch");
  }
  sequences.erase(id);
  return OkStatus();
}

Status KvCache::Drop(SeqId id) {
  return CatchBadAlloc([&] { return impl_->Drop(id); });
}

int64_t KvCache::n_tokens(SeqId id) const {
  const Sequence* seq = impl_->Find(id);
  return seq == nullptr ? -1 : seq->n_tokens;
}

int64_t KvCache::FullBytes(int64_t n_tokens) const {
  int64_t bytes = 0;
  for (int32_t l = 0; l < impl_->config.shape.n_layers(); ++l) {
    const int32_t window = impl_->config.shape.layers[l].window;
    bytes += impl_->TokenBytes(l) * (window > 0 ? std::min<int64_t>(n_tokens, window) : n_tokens);
  }
  return bytes;
}

int64_t KvCache::Impl::ReadableBytes(const Sequence& seq, int32_t layer) const {
  const int64_t n_cells = seq.layers[layer].n_cells(seq.n_tokens);
  const int32_t window = config.shape.layers[layer].window;
  return TokenBytes(layer) * (window > 0 ? std::min<int64_t>(n_cells, window) : n_cells);
}

int64_t KvCache::Impl::HotBytes(const Sequence& seq) const {
  int64_t bytes = 0;
  for (int32_t l = 0; l < config.shape.n_layers(); ++l) {
    const auto& pages = seq.layers[l].pages;
    bytes += pages != nullptr ? pages->hot_bytes() : ReadableBytes(seq, l);
  }
  return bytes;
}

Result<KvStats> KvCache::stats(SeqId id) const {
  const Sequence* seq = impl_->Find(id);
  if (seq == nullptr) return CatchBadAlloc([&]() -> Result<KvStats> { return UnknownSequence(id); });
  KvStats stats;
  stats.n_tokens = seq->n_tokens;
  stats.steps = seq->steps;
  stats.hot_bytes = impl_->HotBytes(*seq);
  stats.hot_bytes_peak = seq->hot_peak;
  stats.full_bytes = FullBytes(seq->n_tokens);
  for (size_t l = 0; l < seq->layers.size(); ++l) {
    const LayerState& layer = seq->layers[l];
    const int64_t block_bytes = static_cast<int64_t>(layer.list.blocks.size()) * impl_->pools[l].block_bytes();
    stats.total_bytes += block_bytes;
    if (impl_->config.shape.layers[l].window == 0) {
      ++stats.full_layers;
      stats.hot_tokens += layer.HotTokens(seq->n_tokens);
    }
    if (layer.tokens != nullptr) {
      stats.dropped_tokens += layer.tokens->dropped_tokens();
      stats.score_bytes += layer.tokens->score_bytes();
    }
    if (layer.pages == nullptr) {
      stats.step_bytes += impl_->ReadableBytes(*seq, static_cast<int32_t>(l));
      continue;
    }
    stats.step_bytes += layer.pages->step_bytes();
    stats.host_bytes += block_bytes;
    stats.digest_bytes += layer.pages->digest_bytes();
    const PageTable& table = layer.pages->table();
    for (int32_t g = 0; g < table.n_groups(); ++g) {
      stats.resident_pages += table.n_hot(g);
      stats.evicted_pages_now += table.n_pages(g) - table.n_hot(g);
    }
    stats.counters.Add(table.counters());
    stats.audit.Add(layer.pages->audit());
  }
  stats.total_bytes += stats.digest_bytes + stats.score_bytes;
  return stats;
}

}  // namespace arkvale
