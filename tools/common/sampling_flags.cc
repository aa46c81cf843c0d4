#include "tools/common/sampling_flags.h"

#include <CLI/CLI.hpp>

#include "tools/common/text_input.h"

namespace arkvale::tools {

void SamplingFlags::Add(Cli& cli) {
  const auto add = [&](const char* name, auto& value, const char* type, const char* text) {
    return cli.app().add_option(name, value, text)->type_name(type)->group("Sampling");
  };
  add("--temp", options_.temperature, "F", "temperature; 0 = greedy: the next four flags then have no effect")
      ->capture_default_str();
  add("--top-k", options_.top_k, "N", "keep the N likeliest tokens; 0 = all")->capture_default_str();
  add("--top-p", options_.top_p, "F", "keep the likeliest tokens of this total probability; 1 = all")
      ->capture_default_str();
  add("--min-p", options_.min_p, "F", "drop tokens below this share of the likeliest one's probability; 0 = none")
      ->capture_default_str();
  add("--seed", options_.seed, "N", "seed of the random numbers")->capture_default_str();
  add("--grammar", grammar_file_, "FILE", "the answer can only be what this GBNF grammar (rule root) allows");
  add("--json-schema", schema_file_, "FILE", "the answer can only be JSON of this schema");
}

Result<SamplingOptions> SamplingFlags::Get() const {
  SamplingOptions options = options_;
  if (!grammar_file_.empty() && !schema_file_.empty()) {
    return InvalidArgument("give --grammar or --json-schema, not both");
  }
  if (!grammar_file_.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(options.grammar, ReadRules(grammar_file_));
  }
  if (!schema_file_.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(options.json_schema, ReadRules(schema_file_));
  }
  return options;
}

}  // namespace arkvale::tools
