// The texts that a plan is made from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arkvale/status.h"
#include "engine/runtime.h"
#include "tools/common/cli.h"

namespace arkvale::tools {

// A prompt as the model would get it, BOS included where the vocabulary adds one.
struct PlanSample {
  std::string name;  // file and line, or file and window
  std::vector<int32_t> ids;
};

class SampleFlags {
 public:
  void Add(Cli& cli);

  // InvalidArgument: not exactly one of the two sources, a flag of the other one, a template without {context}.
  Status Check() const;
  // All samples in order, none of them empty; of records that make no prompt the reason is said on stderr. Texts longer
  // than the limit lose their middle, a book is cut into windows. NotFound, Corrupt with file and line.
  Result<std::vector<PlanSample>> Read(const Runtime& runtime) const;

 private:
  Result<int64_t> MaxPrompt(const Runtime& runtime) const;
  Result<std::vector<PlanSample>> ReadLines(const Runtime& runtime) const;
  Result<std::vector<PlanSample>> ReadRecords(const Runtime& runtime) const;
  Result<std::vector<PlanSample>> ReadWindows(const Runtime& runtime) const;

  std::string samples_, text_, template_, chat_ = "auto", feed_ = "joint";
  int64_t max_prompt_ = 0;
};

}  // namespace arkvale::tools
