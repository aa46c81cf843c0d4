// Resume of the selection-quality tasks: the records that an earlier run into the same folder left whole.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "arkvale/status.h"
#include "tools/common/json.h"
#include "tools/eval/quality_input.h"

namespace arkvale::tools {

// 16 hex digits of everything that decides the lines of a record: how the task is set up, and what is fed.
std::string WorkId(const Json& setup, const QualityInput& input);

// Gives the lines of a record `work_sha256_prefix`, `line` (its place, from 0) and `lines` (how many there are).
void MarkLines(const std::string& work, std::vector<Json>& lines);

class EarlierRecords {
 public:
  // Of DIR/records.jsonl, which afterwards holds the lines of whole records of `works` and nothing else. An empty `dir`
  // and one without the file: none. Internal where the file cannot be written; it is then as it was.
  static Result<EarlierRecords> Load(const std::string& dir, std::span<const std::string> works);

  // A record's lines in their order; none: it has to run.
  std::vector<Json> Lines(const std::string& work) const;

 private:
  std::map<std::string, std::vector<std::string>> texts_;  // by work; as in the file
};

}  // namespace arkvale::tools
