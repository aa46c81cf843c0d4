#include "tools/bench/rounds.h"

#include <algorithm>

#include "base/machine.h"
#include "base/quantile.h"

namespace arkvale::tools {
namespace {

constexpr const char* kPeerName = "llama.cpp";
constexpr const char* kFullName = "arkvale full";

Status TakeSample(const Cell& cell, Contender& contender, std::span<const int32_t> ids, Measured& measured,
                  bool warm_up) {
  std::vector<double> sample_ms;
  if (cell.decode) {
    ARKVALE_ASSIGN_OR_RETURN(DecodeSample sample, contender.Decode(ids.subspan(cell.n_tokens)));
    sample_ms = std::move(sample.step_ms);
    measured.likeliest_ids = std::move(sample.likeliest_ids);
  } else {
    ARKVALE_ASSIGN_OR_RETURN(const double ms, contender.Prefill(ids));
    sample_ms = {ms};
  }
  if (!warm_up) measured.samples_ms.push_back(std::move(sample_ms));
  return OkStatus();
}

double AllQuantile(const Measured& m, double f) {
  std::vector<double> all;
  for (const auto& sample : m.samples_ms) all.insert(all.end(), sample.begin(), sample.end());
  return Quantile(all, f);
}

Ratio MakeRatio(const Measured& a, const Measured& b) {
  std::vector<double> ratios;
  for (size_t r = 0; r < a.samples_ms.size(); ++r) {
    ratios.push_back(Median(b.samples_ms[r]) / Median(a.samples_ms[r]));
  }
  return {.a = a.name, .b = b.name, .median = Median(ratios), .min = Quantile(ratios, 0), .max = Quantile(ratios, 1)};
}

double Agreement(const Measured& a, const Measured& b) {
  size_t equal = 0;
  for (size_t i = 0; i < a.likeliest_ids.size(); ++i) equal += a.likeliest_ids[i] == b.likeliest_ids[i] ? 1 : 0;
  return static_cast<double>(equal) / static_cast<double>(a.likeliest_ids.size());
}

}  // namespace

Result<std::vector<Measured>> RunCell(const Cell& cell, const Contenders& contenders, std::span<const int32_t> ids,
                                      const std::function<void()>& after_sample) {
  std::vector<Measured> measured;
  for (const auto& contender : contenders) {
    Measured& m = measured.emplace_back();
    m.name = contender->name();
    m.labels = contender->Labels();
    if (cell.decode) ARKVALE_RETURN_IF_ERROR(contender->SetContext(ids.first(cell.n_tokens)));
    contender->SetWarmUp(true);
  }
  for (int32_t round = 0; round <= cell.rounds; ++round) {
    for (size_t i = 0; i < contenders.size(); ++i) {
      const size_t c = round % 2 == 0 ? i : contenders.size() - 1 - i;
      ARKVALE_RETURN_IF_ERROR(TakeSample(cell, *contenders[c], ids, measured[c], round == 0));
      after_sample();
      if (round == 0) contenders[c]->SetWarmUp(false);
    }
  }
  for (size_t c = 0; c < contenders.size(); ++c) {
    measured[c].fields =
        cell.decode ? contenders[c]->DecodeFields(AllQuantile(measured[c], 0.5)) : contenders[c]->PrefillFields();
  }
  return measured;
}

Json RowJson(const Cell& cell, const Measured& measured, const Measured& reference) {
  const double median = AllQuantile(measured, 0.5);
  Json row = measured.labels;
  row["depth_tokens"] = cell.decode ? cell.n_tokens : 0;
  row["prompt_tokens"] = cell.decode ? Json(nullptr) : Json(cell.n_tokens);
  row["batch"] = 1;
  row["kv_total_bytes"] = nullptr;
  row["prefill_tokens_per_s"] = cell.decode ? Json(nullptr) : Json(1000 * static_cast<double>(cell.n_tokens) / median);
  row["decode_ms_median"] = cell.decode ? Json(median) : Json(nullptr);
  row["decode_ms_p95"] = cell.decode ? Json(AllQuantile(measured, 0.95)) : Json(nullptr);
  row["breakdown_ms"] = nullptr;
  row["kv_hot_bytes"] = nullptr;
  row["rss_peak_bytes"] = PeakRssBytes();
  row["gb_per_s"] = nullptr;
  row["top1_agreement"] = cell.decode ? Json(Agreement(measured, reference)) : Json(nullptr);
  row["samples_ms"] = measured.samples_ms;
  row.update(measured.fields);
  return row;
}

std::vector<Ratio> Ratios(const std::vector<Measured>& measured) {
  std::vector<Ratio> ratios;
  for (const char* base : {kPeerName, kFullName}) {
    const auto b = std::find_if(measured.begin(), measured.end(), [&](const auto& m) { return m.name == base; });
    if (b == measured.end()) continue;
    for (const Measured& a : measured) {
      if (a.name != base && a.name != kPeerName) ratios.push_back(MakeRatio(a, *b));
    }
  }
  return ratios;
}

Json RatioJson(const Cell& cell, const Ratio& r) {
  return {{"a", r.a},
          {"b", r.b},
          {"depth_tokens", cell.decode ? cell.n_tokens : 0},
          {"prompt_tokens", cell.decode ? Json(nullptr) : Json(cell.n_tokens)},
          {"median", r.median},
          {"min", r.min},
          {"max", r.max},
          {"faster", r.faster()}};
}

}  // namespace arkvale::tools
