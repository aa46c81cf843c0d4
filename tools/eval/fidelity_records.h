// Records of `eval fidelity`, one for each cell and segment. They hold every step, so that the summary is a function of
// them alone.
#pragma once

#include <string>
#include <vector>

#include "tools/eval/fidelity_windows.h"
#include "tools/eval/lockstep.h"
#include "tools/eval/records.h"

namespace arkvale::tools {

// The cells that a run records.
struct FidelityCells {
  RunInfo run;
  KvOptions floor;                 // of the noise floor, which the records of dense attention carry
  std::vector<KvOptions> options;  // dense attention first

  // CellFields: the dense reference keeps f16 whatever the others do.
  Json Fields(size_t cell) const;
};

// What names a record: `Fields` and a `record_id` that says everything else on which it depends.
Json FidelityLabels(const FidelityCells& cells, size_t cell, const SegmentInfo& segment);

// `floor`: the run of the noise floor, for the record of dense attention; null for the others.
Json FidelityRecord(Json labels, const SegmentInfo& segment, const CellRun& cell, const CellRun* floor);

// A record as the summary needs it.
struct SegmentRun {
  SegmentInfo segment;
  std::string error;  // not empty: there are no steps
  WindowSteps steps;
  std::vector<double> step_ms;   // of each step
  std::vector<double> kl_floor;  // of each step, in records of dense attention
  std::string floor_error;       // not empty: there is no floor
  double prefill_kl_nats = 0, wall_ms = 0, estimate_select_ms = 0;
  double hot_tokens_per_layer = 0, recalls_per_step = 0;
  int64_t kv_hot_bytes = 0, kv_total_bytes = 0, digest_bytes = 0, kv_step_bytes = 0;
  KvAudit audit;
};

// InvalidArgument where it lacks a field or one is of another type or length.
Result<SegmentRun> ReadFidelityRecord(const Json& record);

// The record of an earlier run that says what `labels` would, with all of the segment's steps or with an error; null
// where there is none.
const Json* FindFidelityRecord(const RecordLog& log, const Json& labels, const SegmentInfo& segment);

// Lines of --steps-out, one for each step.
std::string StepLines(const Json& record);

}  // namespace arkvale::tools
