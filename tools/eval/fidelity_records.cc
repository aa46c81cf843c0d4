#include "tools/eval/fidelity_records.h"

#include <array>
#include <limits>
#include <numeric>
#include <utility>

#include "base/quantile.h"

namespace arkvale::tools {
namespace {

constexpr double kMsPerNs = 1e-6;

// Of `steps`: arrays with a value of every step. Beside them `kl_floor`, in records of dense attention.
constexpr std::array kColumns = {"kl", "nll", "nll_dense", "dp", "same_top", "clear", "step_ms"};

std::string FloorName(const KvOptions& o) {
  return "/floor-p" + std::to_string(o.page_tokens) + "-s" + std::to_string(o.sink_pages) + "-w" +
         std::to_string(o.window_pages) + "-d" + std::to_string(o.dense_layers);
}

// An array of `field` of every step.
template <typename Field>
Json Column(const WindowSteps& steps, const Field& field) {
  Json values = Json::array();
  for (const StepFidelity& step : steps) values.push_back(field(step));
  return values;
}

Json StepsJson(const CellRun& cell, const CellRun* floor) {
  if (!cell.error.empty()) return nullptr;
  Json json = {{"kl", Column(cell.steps, [](const auto& s) { return s.kl; })},
               {"nll", Column(cell.steps, [](const auto& s) { return s.nll; })},
               {"nll_dense", Column(cell.steps, [](const auto& s) { return s.nll_dense; })},
               {"dp", Column(cell.steps, [](const auto& s) { return s.dp; })},
               {"same_top", Column(cell.steps, [](const auto& s) { return s.same_top; })},
               {"clear", Column(cell.steps, [](const auto& s) { return s.clear; })},
               {"step_ms", cell.step_ms}};
  if (floor != nullptr && floor->error.empty()) {
    json["kl_floor"] = Column(floor->steps, [](const auto& s) { return s.kl; });
  }
  return json;
}

Json AuditFields(const KvAudit& audit) {
  const auto value = [&](double sum) { return audit.samples > 0 ? Json(sum) : Json(nullptr); };
  return {{"audit_samples", audit.samples},
          {"audit_recall_sum", value(audit.set_recall_sum)},
          {"audit_mass_recall_sum", value(audit.mass_recall_sum)}};
}

// What a reader wants of a record beside its steps.
Json Aggregates(const CellRun& cell) {
  const bool ok = cell.error.empty();
  const FidelitySummary s = Summarise({&cell.steps, 1});
  const auto value = [&](double v) { return ok ? Json(v) : Json(nullptr); };
  return {{"kl_mean", value(s.kl_mean)},
          {"kl_p99", value(s.kl_p99)},
          {"kl_max", value(s.kl_max)},
          {"same_top", value(s.same_top)},
          {"same_answer", value(s.same_answer)},
          {"ppl", value(s.ppl)},
          {"ppl_dense", value(s.ppl_dense)},
          {"ppl_ratio", value(s.ppl_ratio)},
          {"prefill_kl_nats", value(cell.prefill_kl)},
          {"step_ms_median", Median(cell.step_ms)}};
}

// JSON has no infinity and writes null: what a token is worth that the model excludes.
double NatsOf(const Json& value) {
  return value.is_null() ? std::numeric_limits<double>::infinity() : value.get<double>();
}

std::string TextOrNull(const Json& value) { return value.is_null() ? "" : value.get<std::string>(); }

WindowSteps ReadSteps(const Json& json) {
  WindowSteps steps(json.at("kl").size());
  for (size_t j = 0; j < steps.size(); ++j) {
    steps[j] = {.kl = json.at("kl").at(j).get<double>(),
                .nll = NatsOf(json.at("nll").at(j)),
                .nll_dense = NatsOf(json.at("nll_dense").at(j)),
                .dp = json.at("dp").at(j).get<double>(),
                .same_top = json.at("same_top").at(j).get<bool>(),
                .clear = json.at("clear").at(j).get<bool>()};
  }
  return steps;
}

KvAudit ReadAudit(const Json& record) {
  KvAudit audit{.samples = record.at("audit_samples").get<int64_t>()};
  if (audit.samples == 0) return audit;
  audit.set_recall_sum = record.at("audit_recall_sum").get<double>();
  audit.mass_recall_sum = record.at("audit_mass_recall_sum").get<double>();
  return audit;
}

SegmentInfo ReadSegment(const Json& record) {
  const Json& copy_start = record.at("copy_start");
  return {.text = record.at("text").get<std::string>(),
          .text_sha256_prefix = record.at("text_sha256_prefix").get<std::string>(),
          .window = record.at("window").get<int64_t>(),
          .start_token = record.at("start_token").get<int64_t>(),
          .context_tokens = record.at("tokens_context").get<int64_t>(),
          .n_steps = record.at("tokens_question").get<int64_t>(),
          .copy_start = copy_start.is_null() ? -1 : copy_start.get<int64_t>()};
}

SegmentRun Read(const Json& record) {
  SegmentRun run;
  run.segment = ReadSegment(record);
  run.error = TextOrNull(record.at("error"));
  run.floor_error = TextOrNull(record.at("floor_error"));
  run.wall_ms = record.at("wall_ms").get<double>();
  run.estimate_select_ms = record.at("estimate_select_ms").get<double>();
  run.hot_tokens_per_layer = record.at("hot_tokens_per_layer_mean").get<double>();
  run.recalls_per_step = record.at("recalls_per_step_mean").get<double>();
  run.kv_hot_bytes = record.at("kv_hot_bytes").get<int64_t>();
  run.kv_total_bytes = record.at("kv_total_bytes").get<int64_t>();
  run.digest_bytes = record.at("digest_bytes").get<int64_t>();
  run.kv_step_bytes = record.at("kv_step_bytes").get<int64_t>();
  run.audit = ReadAudit(record);
  if (!run.error.empty()) return run;
  run.prefill_kl_nats = record.at("prefill_kl_nats").get<double>();
  const Json& steps = record.at("steps");
  run.steps = ReadSteps(steps);
  run.step_ms = steps.at("step_ms").get<std::vector<double>>();
  if (steps.contains("kl_floor")) run.kl_floor = steps.at("kl_floor").get<std::vector<double>>();
  return run;
}

}  // namespace

Json FidelityCells::Fields(size_t cell) const {
  RunInfo info = run;
  if (cell == kDenseCell) info.kv_type = KvType::kF16;
  return CellFields(info, options[cell]);
}

Json FidelityLabels(const FidelityCells& cells, size_t cell, const SegmentInfo& segment) {
  Json json = cells.Fields(cell);
  json["seed"] = nullptr;
  const std::string id = segment.Id();
  json["record_id"] = cell == kDenseCell ? id + FloorName(cells.floor) : id;
  return json;
}

Json FidelityRecord(Json record, const SegmentInfo& segment, const CellRun& cell, const CellRun* floor) {
  record.update({{"tokens_context", segment.context_tokens},
                 {"tokens_question", cell.step_ms.size()},  // fed one by one under the policy
                 {"tokens_generated", 0}});
  record.update(StatsFields(cell.stats));
  record.update({{"wall_ms", std::accumulate(cell.step_ms.begin(), cell.step_ms.end(), 0.0)},
                 {"error", cell.error.empty() ? Json(nullptr) : Json(cell.error)},
                 {"text", segment.text},
                 {"text_sha256_prefix", segment.text_sha256_prefix},
                 {"window", segment.window},
                 {"start_token", segment.start_token},
                 {"copy_start", segment.copy() ? Json(segment.copy_start) : Json(nullptr)}});
  record.update(Aggregates(cell));
  record["estimate_select_ms"] = static_cast<double>(cell.spent.estimate_ns + cell.spent.select_ns) * kMsPerNs;
  record.update(AuditFields(cell.stats.audit));
  const bool floored = floor == nullptr || floor->error.empty();
  record["floor_error"] = floored ? Json(nullptr) : Json(floor->error);
  record["steps"] = StepsJson(cell, floor);
  return record;
}

Result<SegmentRun> ReadFidelityRecord(const Json& record) {
  try {
    SegmentRun run = Read(record);
    bool equal = run.kl_floor.empty() || run.kl_floor.size() == run.steps.size();
    for (const char* name : kColumns) {
      equal = equal && (!run.error.empty() || record.at("steps").at(name).size() == run.steps.size());
    }
    if (!equal) return InvalidArgument("not a record of eval fidelity: the fields of its steps differ in length");
    return run;
  } catch (const Json::exception& e) {
    return InvalidArgument(std::string("not a record of eval fidelity: ") + e.what());
  }
}

const Json* FindFidelityRecord(const RecordLog& log, const Json& labels, const SegmentInfo& segment) {
  const Json* record = log.Find(labels);
  if (record == nullptr) return nullptr;
  const auto run = ReadFidelityRecord(*record);
  const bool whole = run.ok() && (!run->error.empty() || static_cast<int64_t>(run->steps.size()) == segment.n_steps);
  return whole ? record : nullptr;
}

std::string StepLines(const Json& record) {
  std::string lines;
  const Json& steps = record["steps"];
  if (!steps.is_object()) return lines;
  for (size_t j = 0; j < steps["kl"].size(); ++j) {
    Json line;
    for (const char* name : {"record_id", "policy", "plan", "budget_tokens", "page_tokens", "digest", "kv_type"}) {
      line[name] = record.value(name, Json(nullptr));
    }
    line["step"] = j;
    for (const char* name : kColumns) line[name] = steps[name][j];
    lines += Dump(line);
  }
  return lines;
}

}  // namespace arkvale::tools
