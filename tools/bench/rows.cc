#include "tools/bench/rows.h"

#include <filesystem>
#include <fstream>

#include "base/sha256.h"
#include "tools/bench/work.h"
#include "tools/common/build_info.h"
#include "tools/common/format.h"

namespace arkvale::tools {
namespace {

Json OrNull(const auto& value) { return value ? Json(*value) : Json(nullptr); }
Json ShareOrNull(double part, double whole) { return PositiveOrNull(whole > 0 ? part / whole : 0); }

double Agreement(const Measured& a, const Measured& b) {
  size_t equal = 0;
  for (size_t i = 0; i < a.likeliest_ids.size(); ++i) equal += a.likeliest_ids[i] == b.likeliest_ids[i] ? 1 : 0;
  return static_cast<double>(equal) / static_cast<double>(a.likeliest_ids.size());
}

Json PartsJson(const std::optional<Breakdown>& parts) {
  if (!parts) return nullptr;
  return {{"estimate", parts->estimate_ms},
          {"select", parts->select_ms},
          {"recall", parts->recall_ms},
          {"attention", parts->attention_ms},
          {"other", parts->other_ms}};
}

void AddDecode(const Cell& cell, const Measured& measured, const Measured& reference, const Yardstick& yardstick,
               Json& row) {
  const double median = measured.median_ms();
  const double gb_per_s = static_cast<double>(measured.step_bytes) / (median * 1e6);
  row["decode_ms_median"] = median;
  row["decode_ms_p95"] = measured.quantile_ms(0.95);
  row["decode_tokens_per_s"] = PerSecond(cell.batch, median);
  row["breakdown_ms"] = PartsJson(measured.parts);
  row["breakdown_cost"] = measured.parts ? Json(measured.parts->step_ms / median - 1) : Json(nullptr);
  row["gb_per_s"] = PositiveOrNull(gb_per_s);
  row["bandwidth_share"] = ShareOrNull(gb_per_s, yardstick.speed.read_gb_per_s);
  row["top1_agreement"] = Agreement(measured, reference);
}

void AddPrefill(const Cell& cell, const Measured& measured, const Yardstick& yardstick, Json& row) {
  const double median = measured.median_ms();
  const double gflop_per_s = PrefillFlops(*yardstick.model, cell.n_tokens) / (median * 1e6);
  row["prefill_tokens_per_s"] = PerSecond(static_cast<double>(cell.n_tokens), median);
  row["gflop_per_s"] = gflop_per_s;
  row["flop_share"] = ShareOrNull(gflop_per_s, yardstick.speed.fma_gflop_per_s);
}

// How the system changes the clock; null where it does not say.
Json Governor() {
  std::ifstream file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  std::string name;
  return file >> name ? Json(name) : Json(nullptr);
}

}  // namespace

Json RowJson(const Cell& cell, const Measured& measured, const Measured& reference, const Yardstick& yardstick) {
  Json row = measured.labels;
  row["depth_tokens"] = cell.decode ? cell.n_tokens : 0;
  row["prompt_tokens"] = cell.decode ? Json(nullptr) : Json(cell.n_tokens);
  row["batch"] = cell.batch;
  for (const char* field : {"kv_total_bytes", "prefill_tokens_per_s", "decode_ms_median", "decode_ms_p95",
                            "decode_tokens_per_s", "breakdown_ms", "breakdown_cost", "kv_hot_bytes"}) {
    row[field] = nullptr;
  }
  row["rss_peak_bytes"] = OrNull(measured.rss_peak_bytes);
  for (const char* field : {"gb_per_s", "bandwidth_share", "gflop_per_s", "flop_share", "top1_agreement"}) {
    row[field] = nullptr;
  }
  if (cell.decode) {
    AddDecode(cell, measured, reference, yardstick, row);
  } else {
    AddPrefill(cell, measured, yardstick, row);
  }
  row["samples_ms"] = measured.samples_ms;
  row.update(measured.fields);
  return row;
}

Json RatioJson(const Cell& cell, const Ratio& r) {
  return {{"a", r.a},
          {"b", r.b},
          {"depth_tokens", cell.decode ? cell.n_tokens : 0},
          {"prompt_tokens", cell.decode ? Json(nullptr) : Json(cell.n_tokens)},
          {"batch", cell.batch},
          {"median", r.median},
          {"min", r.min},
          {"max", r.max},
          {"faster", r.faster()}};
}

Json GrowthJson(const Growth& g) {
  return {{"name", g.name},
          {"batch", g.batch},
          {"decode_us_per_1k_tokens", g.decode_us_per_1k_tokens},
          {"last_to_first", g.last_to_first},
          {"crossover_tokens", OrNull(g.crossover_tokens)}};
}

Result<Json> RunJson(const BenchRun& info) {
  ARKVALE_ASSIGN_OR_RETURN(const std::string hash, FileSha256Hex(info.model_path));
  Json machine = MachineJson(info.threads);
  constexpr size_t kPrefixDigits = 16;
  machine.update({{"compiler_flags", CompilerFlags()},
                  {"governor", Governor()},
                  {"pinned", false},
                  {"load_per_core", info.load_per_core},
                  {"read_gb_per_s", PositiveOrNull(info.speed.read_gb_per_s)},
                  {"fma_gflop_per_s", PositiveOrNull(info.speed.fma_gflop_per_s)},
                  {"peer_version", info.peer ? Json(LlamaVersion()) : Json(nullptr)},
                  {"model", std::filesystem::path(info.model_path).filename().string()},
                  {"model_sha256_prefix", hash.substr(0, kPrefixDigits)}});
  return machine;
}

}  // namespace arkvale::tools
