#include "tools/plan/measure.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/profile.h"
#include "engine/session.h"
#include "plan/gains.h"
#include "tools/eval/divergence.h"
#include "tools/eval/lockstep.h"

namespace arkvale::tools {
namespace {

Status AddLayer(const PlanTarget& target, int64_t n_tokens, const LayerScores& layer, MeasuredGains& gains) {
  if (target.kind == PlanKind::kXkv) {
    ARKVALE_ASSIGN_OR_RETURN(auto tokens, TokenGains(layer.scores, layer.n_kv_heads));
    gains.gains.push_back(std::move(tokens));
    gains.start.push_back(0);
    return OkStatus();
  }
  ARKVALE_ASSIGN_OR_RETURN(auto pages, PageGains({.scores = layer.scores,
                                                  .n_kv_heads = layer.n_kv_heads,
                                                  .group_heads = target.kv.group_heads,
                                                  .page_tokens = target.kv.page_tokens,
                                                  .sink_pages = target.kv.sink_pages,
                                                  .window_pages = target.kv.window_pages,
                                                  .n_prompt_tokens = n_tokens}));
  gains.gains.push_back(std::move(pages.gains));
  gains.start.push_back(pages.pinned_share);
  return OkStatus();
}

// The dense side of every step.
Result<std::vector<DenseStep>> DenseSteps(const Session& context, std::span<const int32_t> ids) {
  ARKVALE_ASSIGN_OR_RETURN(Session dense, context.Fork(DenseOptions()));
  std::vector<DenseStep> steps(ids.size());
  for (size_t j = 0; j < ids.size(); ++j) {
    ARKVALE_RETURN_IF_ERROR(dense.Step(ids[j]));
    ARKVALE_RETURN_IF_ERROR(steps[j].Set(dense.logits()));
  }
  return steps;
}

KvOptions OneLayer(const PlanTarget& target, int32_t n_layers, int32_t layer, int64_t units) {
  KvOptions options = target.kv;
  options.budget_tokens = 0;
  options.layer_budget_tokens.assign(static_cast<size_t>(n_layers), 0);
  options.layer_budget_tokens[static_cast<size_t>(layer)] = target.fixed_tokens() + units * target.unit_tokens();
  return options;
}

// All sizes of one layer step together.
Result<std::vector<LossPoint>> LossesOfLayer(const PlanTarget& target, int32_t n_layers, int32_t layer,
                                             const Session& context, std::span<const int32_t> ids,
                                             std::span<const DenseStep> dense, std::span<const int64_t> sizes) {
  std::vector<Session> sessions;
  std::vector<LossPoint> losses;
  for (const int64_t units : sizes) {
    ARKVALE_ASSIGN_OR_RETURN(Session fork, context.Fork(OneLayer(target, n_layers, layer, units)));
    sessions.push_back(std::move(fork));
    losses.push_back({.units = units, .loss = 0});
  }
  std::vector<Session*> pointers;
  for (Session& session : sessions) pointers.push_back(&session);
  std::vector<float> logits;
  for (size_t j = 0; j < ids.size(); ++j) {
    const std::vector<int32_t> same(pointers.size(), ids[j]);
    ARKVALE_RETURN_IF_ERROR(Session::StepTogether(pointers, same, logits));
    const size_t n_vocab = logits.size() / pointers.size();
    for (size_t i = 0; i < pointers.size(); ++i) {
      ARKVALE_ASSIGN_OR_RETURN(const double kl, dense[j].Kl(std::span(logits).subspan(i * n_vocab, n_vocab)));
      losses[i].loss += kl / static_cast<double>(ids.size());
    }
  }
  return losses;
}

}  // namespace

int64_t PlanTarget::fixed_tokens() const {
  return kind == PlanKind::kXkv ? kv.snap_window : int64_t{kv.sink_pages + kv.window_pages} * kv.page_tokens;
}

Result<std::vector<int32_t>> PlanTarget::ManagedLayers(const KvShape& shape, const KvOptions& kv) {
  std::vector<int32_t> layers;
  for (int32_t l = kv.dense_layers; l < shape.n_layers(); ++l) {
    if (shape.layers[static_cast<size_t>(l)].window == 0) layers.push_back(l);
  }
  if (!layers.empty()) return layers;
  return InvalidArgument("no layer to plan for: from layer " + std::to_string(kv.dense_layers) +
                         " on none has full attention: use fewer --kv-dense-layers");
}

std::vector<LayerGains> MeasuredGains::views() const {
  std::vector<LayerGains> layers;
  for (size_t l = 0; l < gains.size(); ++l) layers.push_back({.gains = gains[l], .start = start[l]});
  return layers;
}

Result<MeasuredGains> MeasureMass(Runtime& runtime, const PlanTarget& target, std::span<const int32_t> ids,
                                  const std::function<Status()>& progress) {
  MeasuredGains gains{.gains = {}, .start = {}, .least_units = target.least_units()};
  const ProfileOptions options{.window = target.kv.snap_window, .kernel = target.kv.snap_kernel};
  const LayerScoresSink add = [&](const LayerScores& layer) {
    const bool managed = std::binary_search(target.layers.begin(), target.layers.end(), layer.layer);
    return managed ? AddLayer(target, static_cast<int64_t>(ids.size()), layer, gains) : OkStatus();
  };
  ARKVALE_RETURN_IF_ERROR(ProfilePrompt(runtime, ids, options, add, [&](int64_t /*done*/) { return progress(); }));
  for (const auto& layer : gains.gains) {
    if (static_cast<int64_t>(layer.size()) >= gains.least_units) continue;
    return InvalidArgument("a prompt of " + std::to_string(ids.size()) + " tokens has fewer than " +
                           std::to_string(gains.least_units) + " pages between sinks and window: give a longer one");
  }
  return gains;
}

std::vector<int64_t> KlSizes(const PlanTarget& target, int64_t least_tokens, int64_t most_tokens, int64_t n_context) {
  const int64_t most_units = (n_context - target.fixed_tokens()) / target.unit_tokens();
  std::vector<int64_t> sizes;
  for (int64_t tokens = std::max<int64_t>(1, least_tokens / 4); tokens <= 4 * most_tokens; tokens *= 2) {
    const int64_t units = std::max((tokens - target.fixed_tokens()) / target.unit_tokens(), target.least_units());
    if (units < most_units && (sizes.empty() || units > sizes.back())) sizes.push_back(units);
  }
  return sizes;
}

Result<LayerLosses> MeasureKl(Runtime& runtime, const PlanTarget& target, std::span<const int32_t> ids, int64_t n_steps,
                              std::span<const int64_t> sizes, const std::function<Status(int64_t done)>& progress) {
  const auto n_context = static_cast<int64_t>(ids.size()) - n_steps;
  if (n_context < 1 || sizes.empty()) {
    return InvalidArgument("a prompt of " + std::to_string(ids.size()) + " tokens is too short for " +
                           std::to_string(n_steps) + " steps under a budget: give a longer one");
  }
  ARKVALE_ASSIGN_OR_RETURN(Session context, Session::Make(runtime, BaseOptions({&target.kv, 1})));
  ARKVALE_RETURN_IF_ERROR(context.Prefill(ids.first(n_context), true, [&](int64_t /*done*/) { return progress(0); }));
  const auto steps = ids.subspan(n_context);
  ARKVALE_ASSIGN_OR_RETURN(const auto dense, DenseSteps(context, steps));
  LayerLosses losses;
  for (const int32_t layer : target.layers) {
    ARKVALE_ASSIGN_OR_RETURN(auto points,
                             LossesOfLayer(target, runtime.info().n_layers, layer, context, steps, dense, sizes));
    losses.push_back(std::move(points));
    ARKVALE_RETURN_IF_ERROR(progress(static_cast<int64_t>(losses.size())));
  }
  return losses;
}

Result<MeasuredGains> GainsOfLosses(std::span<const LayerLosses> samples, int64_t most_units) {
  MeasuredGains gains;
  if (samples.empty()) return InvalidArgument("no sample was measured");
  // Sizes ascend from the same one: what all samples have is the shortest list.
  size_t n_points = samples[0][0].size();
  for (const LayerLosses& sample : samples) n_points = std::min(n_points, sample[0].size());
  gains.least_units = samples[0][0][0].units;
  for (size_t l = 0; l < samples[0].size(); ++l) {
    std::vector<LossPoint> mean(samples[0][l].begin(), samples[0][l].begin() + static_cast<int64_t>(n_points));
    for (size_t i = 0; i < n_points; ++i) {
      mean[i].loss = 0;
      for (const LayerLosses& sample : samples) mean[i].loss += sample[l][i].loss / static_cast<double>(samples.size());
    }
    ARKVALE_ASSIGN_OR_RETURN(auto layer, CurveGains(mean, most_units));
    gains.gains.push_back(std::move(layer));
    gains.start.push_back(0);
  }
  return gains;
}

}  // namespace arkvale::tools
