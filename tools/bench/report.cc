#include "tools/bench/report.h"

#include <cstdio>

#include "tools/common/build_info.h"
#include "tools/common/format.h"

namespace arkvale::tools {
namespace {

constexpr double kMaxLoadPerCore = 0.3;

double Number(const Json& row, const char* field) {
  const auto value = row.find(field);
  return value != row.end() && value->is_number() ? value->get<double>() : 0;
}

// "12.3" in a column; blank where the row has no such number.
std::string Column(const Json& row, const char* field, double factor, const char* format, int width) {
  const auto value = row.find(field);
  if (value == row.end() || !value->is_number()) return std::string(static_cast<size_t>(width), ' ');
  char text[32];
  std::snprintf(text, sizeof text, format, factor * value->get<double>());
  return Format("%*s", width, text);
}

std::string Parts(const Json& row) {
  const Json& parts = row["breakdown_ms"];
  if (!parts.is_object()) return "";
  return Format("   estimate %.2f, select %.2f, recall %.2f, attention %.2f, other %.2f (timed run %+.1f %%)",
                Number(parts, "estimate"), Number(parts, "select"), Number(parts, "recall"), Number(parts, "attention"),
                Number(parts, "other"), 100 * Number(row, "breakdown_cost"));
}

std::string PeerSetting(const Json& row) {
  if (!row.contains("flash_attention")) return "";
  std::string text = Format("   flash attention %s", row["flash_attention"].get<bool>() ? "on" : "off");
  if (row["kv_unified"].is_boolean()) text += row["kv_unified"].get<bool>() ? ", one KV buffer" : ", KV buffers apart";
  return text;
}

constexpr double kPerMiB = 1.0 / (1 << 20);

std::string DecodeLine(const std::string& name, const Json& row) {
  return Format("  %-24s", name.c_str()) + Column(row, "decode_ms_median", 1, "%.2f", 9) +
         Column(row, "decode_ms_p95", 1, "%.2f", 9) + Column(row, "decode_tokens_per_s", 1, "%.1f", 10) +
         Column(row, "top1_agreement", 100, "%.0f %%", 8) + Column(row, "gb_per_s", 1, "%.1f", 8) +
         Column(row, "bandwidth_share", 100, "%.0f %%", 7) + Column(row, "kv_hot_bytes", kPerMiB, "%.1f", 9) +
         Column(row, "rss_peak_bytes", kPerMiB, "%.0f", 9) + Parts(row) + PeerSetting(row) + "\n";
}

std::string PrefillLine(const std::string& name, const Json& row) {
  return Format("  %-24s", name.c_str()) + Column(row, "prefill_tokens_per_s", 1, "%.1f", 10) +
         Column(row, "gflop_per_s", 1, "%.0f", 10) + Column(row, "flop_share", 100, "%.0f %%", 7) +
         Column(row, "rss_peak_bytes", kPerMiB, "%.0f", 9) + PeerSetting(row) + "\n";
}

}  // namespace

std::string CellTable(const Cell& cell, const std::vector<Measured>& measured, const std::vector<Json>& rows,
                      const std::vector<Ratio>& ratios) {
  std::string text =
      cell.decode ? Format("%-26s%9s%9s%10s%8s%8s%7s%9s%9s\n", cell.name().c_str(), "ms/step", "p95", "tokens/s",
                           "agrees", "GB/s", "peak", "hot MiB", "RSS MiB")
                  : Format("%-26s%10s%10s%7s%9s\n", cell.name().c_str(), "tokens/s", "GFLOP/s", "peak", "RSS MiB");
  for (size_t i = 0; i < rows.size(); ++i) {
    text += cell.decode ? DecodeLine(measured[i].name, rows[i]) : PrefillLine(measured[i].name, rows[i]);
  }
  for (const Ratio& r : ratios) {
    text += Format("  %s: %.2f x %s (rounds %.2f to %.2f)%s\n", r.a.c_str(), r.median, r.b.c_str(), r.min, r.max,
                   r.faster() ? "" : ", not surely faster");
  }
  return text;
}

std::string GrowthTable(const std::vector<Json>& growths) {
  if (growths.empty()) return "";
  std::string text =
      Format("%-26s%14s%12s%18s\n", "growth with depth", "us/1k tokens", "last/first", "beats full from");
  for (const Json& g : growths) {
    std::string name = g["name"].get<std::string>();
    if (g["batch"] != 1) name += ", batch " + g["batch"].dump();
    text += Format("  %-24s", name.c_str()) + Column(g, "decode_us_per_1k_tokens", 1, "%.1f", 14) +
            Column(g, "last_to_first", 1, "%.2f", 12) + Column(g, "crossover_tokens", 1, "%.0f", 18) + "\n";
  }
  return text;
}

std::string MachineLines(const Json& m) {
  const auto text = [&](const char* field) { return m[field].is_string() ? m[field].get<std::string>() : "unknown"; };
  std::string lines = "machine: " + text("cpu") + ", " + m["threads"].dump() + " threads (not pinned) on " +
                      m["cores"].dump() + " cores, governor " + text("governor") + ", reads" +
                      Column(m, "read_gb_per_s", 1, " %.1f", 0) + " GB/s, FMA" +
                      Column(m, "fma_gflop_per_s", 1, " %.0f", 0) + " GFLOP/s\n";
  lines += "build: " + text("compiler") + " " + text("compiler_flags") + ", " + text("build_type") + ", commit " +
           text("commit") + "; model " + text("model") + " " + text("model_sha256_prefix");
  return lines + (m["peer_version"].is_string() ? "; peer " + text("peer_version") : "") + "\n";
}

void WarnAboutTiming(double load_per_core) {
  if (!FitForTiming()) {
    std::fprintf(stderr, "warning: this is a %s build: its times mean nothing\n", BuildType().c_str());
  }
  if (load_per_core > kMaxLoadPerCore) {
    std::fprintf(stderr, "warning: load of %.2f per core > %.1f: other work disturbs the times\n", load_per_core,
                 kMaxLoadPerCore);
  }
}

}  // namespace arkvale::tools
