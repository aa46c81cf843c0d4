// The flags that say how the next token is picked.
#pragma once

#include <string>

#include "arkvale/engine.h"
#include "tools/common/cli.h"

namespace arkvale::tools {

// --temp, --top-k, --top-p, --min-p, --seed, --grammar, --json-schema.
class SamplingFlags {
 public:
  void Add(Cli& cli);
  // Reads the files of --grammar and --json-schema; InvalidArgument where both are given.
  Result<SamplingOptions> Get() const;

 private:
  SamplingOptions options_;
  std::string grammar_file_, schema_file_;
};

}  // namespace arkvale::tools
