#include "tools/bench/rounds.h"

#include <algorithm>

#include "base/quantile.h"

namespace arkvale::tools {
namespace {

Status TakeSample(const Cell& cell, Contender& contender, std::span<const int32_t> ids, Measured& measured,
                  bool warm_up) {
  std::vector<double> sample_ms;
  if (cell.decode) {
    ARKVALE_ASSIGN_OR_RETURN(DecodeSample sample, contender.Decode(ids.subspan(cell.n_tokens), cell.batch));
    sample_ms = std::move(sample.step_ms);
    measured.likeliest_ids = std::move(sample.likeliest_ids);
  } else {
    ARKVALE_ASSIGN_OR_RETURN(const double ms, contender.Prefill(ids));
    sample_ms = {ms};
  }
  if (!warm_up) measured.samples_ms.push_back(std::move(sample_ms));
  return OkStatus();
}

Status Finish(const Cell& cell, Contender& contender, std::span<const int32_t> ids, Measured& measured) {
  if (!cell.decode) {
    measured.fields = contender.PrefillFields();
    return OkStatus();
  }
  measured.fields = contender.DecodeFields(cell.batch);
  measured.step_bytes = contender.StepBytes(cell.batch);
  ARKVALE_ASSIGN_OR_RETURN(measured.parts, contender.DecodeParts(ids.subspan(cell.n_tokens), cell.batch));
  return OkStatus();
}

Ratio MakeRatio(const Measured& a, const Measured& b) {
  std::vector<double> ratios;
  for (size_t r = 0; r < a.samples_ms.size(); ++r) {
    ratios.push_back(Median(b.samples_ms[r]) / Median(a.samples_ms[r]));
  }
  return {.a = a.name, .b = b.name, .median = Median(ratios), .min = Quantile(ratios, 0), .max = Quantile(ratios, 1)};
}

}  // namespace

std::string Cell::name() const {
  const std::string what = (decode ? "decode at " : "prefill of ") + std::to_string(n_tokens);
  return batch == 1 ? what : what + ", batch " + std::to_string(batch);
}

double Measured::quantile_ms(double f) const {
  std::vector<double> all;
  for (const auto& sample : samples_ms) all.insert(all.end(), sample.begin(), sample.end());
  return Quantile(all, f);
}

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
    ARKVALE_RETURN_IF_ERROR(Finish(cell, *contenders[c], ids, measured[c]));
  }
  return measured;
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

}  // namespace arkvale::tools
