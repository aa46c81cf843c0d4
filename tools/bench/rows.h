// The rows of `bench --json` and what stands in its last line.
#pragma once

#include <string>
#include <vector>

#include "model/config.h"
#include "tools/bench/growth.h"
#include "tools/bench/machine_speed.h"
#include "tools/bench/rounds.h"

namespace arkvale::tools {

// What rows are measured against.
struct Yardstick {
  MachineSpeed speed;
  const ModelConfig* model = nullptr;
};

// One bare row. `reference` is the contender whose likeliest tokens count as right.
Json RowJson(const Cell& cell, const Measured& measured, const Measured& reference, const Yardstick& yardstick);
Json RatioJson(const Cell& cell, const Ratio& ratio);
Json GrowthJson(const Growth& growth);

// What a run was made on and with: the fields of MachineJson, the machine's speed, what disturbed it and the model.
struct BenchRun {
  int32_t threads = 0;
  MachineSpeed speed;
  double load_per_core = 0;  // before the run
  std::string model_path;
  bool peer = false;
};
// NotFound where the model cannot be read.
Result<Json> RunJson(const BenchRun& info);

}  // namespace arkvale::tools
