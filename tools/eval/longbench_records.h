// Records of LongBench as its files hold them: JSON lines, one file a set.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arkvale/status.h"

namespace arkvale::tools {

struct LongBenchRecord {
  std::string id, input, context;
  std::vector<std::string> answers;  // at least one
  std::vector<std::string> classes;  // of classification sets, else empty
  int64_t length_words = 0;          // as the benchmark counted them
};

// DIR/SET.jsonl
std::string LongBenchPath(const std::string& dir, const std::string& set);

// All records of a file, at least one; blank lines are skipped. NotFound where it cannot be read; Corrupt with file and
// line where a line is no record or, with `wants_classes`, names no classes.
Result<std::vector<LongBenchRecord>> ReadLongBench(const std::string& path, bool wants_classes);

}  // namespace arkvale::tools
