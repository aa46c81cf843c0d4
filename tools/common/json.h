// JSON documents the commands share. Units are in the names, nothing is rounded.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "arkvale/kv_options.h"
#include "arkvale/stats.h"

namespace arkvale::tools {

// Keeps the order in which fields are written.
using Json = nlohmann::ordered_json;

// Null stands for what was not measured.
inline Json PositiveOrNull(double value) { return value > 0 ? Json(value) : Json(nullptr); }

// {cpu, threads, cores, memory_bytes, compiler, build_type, commit}; commit is null where unknown.
Json MachineJson(int32_t threads);

// {rss_peak_bytes} of this process so far.
Json MemoryJson();

// The `kv` object of `generate --json`. Where layers have their own budgets budget_tokens is their mean. The audit
// fields are null where nothing was audited.
Json KvJson(const KvOptions& options, KvType type, const KvStats& stats);

// One line. Bytes that are not UTF-8 (a token cut by the end of the text) become U+FFFD.
std::string Dump(const Json& json);

}  // namespace arkvale::tools
