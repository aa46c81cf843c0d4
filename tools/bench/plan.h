// The flags of `bench`, and the cells and policies they ask for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/bench/rounds.h"
#include "tools/common/cli.h"
#include "tools/common/kv_flags.h"
#include "tools/common/plan_input.h"

namespace arkvale::tools {

struct BenchFlags {
  EngineFlags engine;
  KvFlags kv;
  std::string prompts, depths = "128,2048", policies = "full,arkvale", budgets = "1024", batches = "1", peer,
                       text = "tests/data/frankenstein_excerpt.txt", fill = "text";
  std::string memory_run;  // "cell,contender,setting": this process measures that one's memory (memory_run.h)
  int32_t rounds = 3, steps = 32;
  bool json = false, quiet = false, memory = false;

  void Add(Cli& cli);
  bool random_fill() const { return fill == "random"; }
};

struct BenchPlan {
  EngineOptions engine;
  std::vector<Cell> cells;           // prompts first, then depths, each ascending: contexts extend one another
  std::vector<KvOptions> kv;         // one contender each
  std::optional<PlanInput> kv_plan;  // what the last of them gets its budgets from
  int64_t max_tokens = 0;            // longest context of all cells, steps counted
  int32_t max_batch = 1;
};

// InvalidArgument quotes the flag and its value.
Result<BenchPlan> MakePlan(const BenchFlags& flags);

}  // namespace arkvale::tools
