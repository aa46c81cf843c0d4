#include "tools/eval/quality_study.h"

#include <algorithm>

namespace arkvale::tools {

std::vector<DigestKind> StudyInput::Digests() const {
  std::vector<DigestKind> digests;
  for (const KvOptions& cell : cells) {
    if (std::find(digests.begin(), digests.end(), cell.digest) == digests.end()) digests.push_back(cell.digest);
  }
  return digests;
}

Json QualityFields(const RunInfo& run, const KvOptions& options, const QualityRecord& record) {
  Json json = CellFields(run, options);
  json.update({{"page_tokens", options.page_tokens},
               {"seed", nullptr},
               {"record_id", record.id},
               {"tokens_context", record.tokens_context},
               {"tokens_question", record.tokens_question},
               {"tokens_generated", record.tokens_generated},
               {"steps", record.steps}});
  // No sequence of the cell ran.
  const Json held = StatsFields({});
  for (const auto& [name, _] : held.items()) json[name] = nullptr;
  json["wall_ms"] = record.wall_ms;
  json["error"] = nullptr;
  return json;
}

}  // namespace arkvale::tools
