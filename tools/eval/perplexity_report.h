// What `eval perplexity` tells: records, the summary, the table.
#pragma once

#include <string>
#include <vector>

#include "tools/eval/records.h"

namespace arkvale::tools {

// One chunk of a text: its first half is the context, the tokens after it but the last are fed one by one.
struct PerplexityChunk {
  std::string text, text_sha256_prefix;  // file name, and what tells it from another of that name
  int64_t chunk = 0, chunk_tokens = 0;

  int64_t start_token() const { return chunk * chunk_tokens; }
  int64_t n_context() const { return chunk_tokens / 2; }
  int64_t n_steps() const { return chunk_tokens - 1 - n_context(); }
};

Json PerplexityLabels(const RunInfo& run, const PerplexityChunk& chunk, const KvOptions& options);
// Where a record lies; `nll_mean_nats` and `ppl` are null until they are measured.
Json PerplexityPlace(const PerplexityChunk& chunk);
// `nll`: of each step, in nats.
Json PerplexityResult(const std::vector<double>& nll);

// Per text and cell: `ppl` = exp of the mean over all steps, `ppl_ratio` to full attention, with intervals by bootstrap
// over chunks; those with an error, here or under full attention, are left out. `cells`: dense first.
Json PerplexitySummaryJson(const RunInfo& run, const std::vector<KvOptions>& cells, const std::vector<Json>& records);
std::string PerplexityTable(const Json& summary);

}  // namespace arkvale::tools
