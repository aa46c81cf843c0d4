#include "tools/bench/report.h"

#include <cstdio>

#include "base/machine.h"
#include "tools/common/build_info.h"
#include "tools/common/format.h"

namespace arkvale::tools {
namespace {

constexpr double kMaxLoadPerCore = 0.3;

double Number(const Json& row, const char* field) {
  const auto value = row.find(field);
  return value != row.end() && value->is_number() ? value->get<double>() : 0;
}

std::string DecodeLine(const std::string& name, const Json& row) {
  std::string line =
      Format("  %-24s %8.2f %8.2f %10.1f %7.0f %%", name.c_str(), Number(row, "decode_ms_median"),
             Number(row, "decode_ms_p95"), 1000 / Number(row, "decode_ms_median"), 100 * Number(row, "top1_agreement"));
  if (const Json& parts = row["breakdown_ms"]; parts.is_object()) {
    line +=
        Format(" %6.1f %8.1f   estimate %.2f, select %.2f, recall %.2f, attention %.2f, other %.2f",
               Number(row, "gb_per_s"), Number(row, "kv_hot_bytes") / (1 << 20), Number(parts, "estimate"),
               Number(parts, "select"), Number(parts, "recall"), Number(parts, "attention"), Number(parts, "other"));
  } else if (row.contains("flash_attention")) {
    line += Format(" %6s %8s   flash attention %s", "", "", row["flash_attention"].get<bool>() ? "on" : "off");
  }
  return line + "\n";
}

}  // namespace

std::string CellTable(const Cell& cell, const std::vector<Measured>& measured, const std::vector<Ratio>& ratios) {
  const auto n = static_cast<long long>(cell.n_tokens);
  std::string text =
      cell.decode ? Format("decode at %lld tokens         ms/token      p95   tokens/s  agrees   GB/s  hot MiB\n", n)
                  : Format("prefill of %lld tokens        tokens/s\n", n);
  for (const Measured& m : measured) {
    const Json row = RowJson(cell, m, measured.front());
    text += cell.decode ? DecodeLine(m.name, row)
                        : Format("  %-24s %8.1f\n", m.name.c_str(), Number(row, "prefill_tokens_per_s"));
  }
  for (const Ratio& r : ratios) {
    text += Format("  %s: %.2f x %s (rounds %.2f to %.2f)%s\n", r.a.c_str(), r.median, r.b.c_str(), r.min, r.max,
                   r.faster() ? "" : ", not surely faster");
  }
  return text;
}

std::string CellJsonLines(const Cell& cell, const std::vector<Measured>& measured) {
  std::string lines;
  for (const Measured& m : measured) lines += Dump(RowJson(cell, m, measured.front()));
  return lines;
}

void WarnAboutTiming() {
  if (!FitForTiming()) {
    std::fprintf(stderr, "warning: this is a %s build: its times mean nothing\n", BuildType().c_str());
  }
  if (const double load = LoadPerCore(); load > kMaxLoadPerCore) {
    std::fprintf(stderr, "warning: load of %.2f per core > %.1f: other work disturbs the times\n", load,
                 kMaxLoadPerCore);
  }
}

}  // namespace arkvale::tools
