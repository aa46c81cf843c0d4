// Peak memory of one contender in one cell, measured by a process that does nothing else: this binary starts itself
// with the same arguments and --memory-run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arkvale/status.h"
#include "tools/common/json.h"

namespace arkvale::tools {

// What the process is to measure, as positions in the plan that the same flags make.
struct MemoryRun {
  size_t cell = 0;
  size_t contender = 0;
  int32_t setting = 0;  // Contender::setting of the timed run

  std::string ToString() const;
  // InvalidArgument where the text is no such thing.
  static Result<MemoryRun> Parse(const std::string& text);
};

// Bytes of rss_peak_bytes that the process `args` (argv[0] included) of this binary prints in its last line. Its
// failures quote that line; Cancelled after Ctrl-C, which ends the process too.
Result<int64_t> RunForMemory(const std::vector<std::string>& args);

}  // namespace arkvale::tools
