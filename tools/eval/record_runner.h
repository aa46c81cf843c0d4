// Runs records of eval tasks that ask and judge an answer, or that measure steps of each cell alone: one prefill for
// full attention and every cell, each record written as soon as it is there, those of an earlier run taken from its
// log.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/runtime.h"
#include "engine/session.h"
#include "tools/common/json.h"
#include "tools/common/progress.h"
#include "tools/eval/answer.h"
#include "tools/eval/records.h"

namespace arkvale::tools {

struct RecordPrompt {
  std::vector<int32_t> context;   // prefilled; BOS first where the vocabulary adds it
  std::vector<int32_t> question;  // fed as EvalRecord::feeding says; no BOS
  std::string error;              // not empty: no prompt can be made; every cell is recorded with this text
};

struct EvalRecord {
  // The fields that name the record of a cell, known before it runs: CellFields and at least `record_id`.
  std::function<Json(const KvOptions&)> labels;
  // Called once, and only where a cell is not in the log. A failure ends the run.
  std::function<Result<RecordPrompt>()> prompt;
  // The task's own fields of an answer. `dense` is the same record under full attention, as it was written (perhaps by
  // an earlier run); null for that record itself. An answer with an error has no ids or few, and must count as 0.
  std::function<Json(const Answer& answer, const Json& dense)> judge = {};
  // Optional, in place of steps of the question and an answer: runs steps in `fork`, which holds what was prefilled
  // under a cell, and returns the task's own fields. `judge`, if it is set, then sees an answer without ids, with the
  // error of a failed measurement.
  std::function<Result<Json>(Session& fork)> measure = {};
  Feeding feeding = Feeding::kThreeStage;  // checked: its labels say the same
  int32_t max_new = 0;                     // longest answer in tokens
  int32_t end_id = -1;                     // ends an answer that holds a token already; -1: none
  // What it costs beside other records, in any unit (tokens, say): weighs the estimate of the time left.
  double work = 1;
};

// "40 s left", "12 min left", "3.5 h left"; empty where nothing is done yet.
std::string TimeLeft(double seconds_so_far, double work_done, double work_left);

class RecordRunner {
 public:
  // `cells`: full attention first. All references outlive the runner; `total_work`: over all of the run's `n_records`.
  RecordRunner(Runtime& runtime, RecordLog& log, const std::vector<KvOptions>& cells, int64_t n_records,
               double total_work, bool quiet)
      : runtime_(runtime), log_(log), cells_(cells), n_records_(n_records), work_left_(total_work), progress_(quiet) {}

  // Every cell of one record. A cell that fails is recorded with its `error`, and the run goes on. Fails where the log
  // cannot be written, where the prompt fails, and with Cancelled after Ctrl-C; what was written stays.
  Status Run(const EvalRecord& record);

  // Those of all cells so far, with those of earlier runs. No progress is shown once this is asked.
  const std::vector<Json>& Finish();

 private:
  struct Prefilled;
  Status RunCell(const EvalRecord& record, const KvOptions& options, const Prefilled& prefilled, Json json);
  Result<Prefilled> Prefill(const EvalRecord& record);
  Result<Answer> Ask(const EvalRecord& record, const KvOptions& options, const Prefilled& prefilled, Json& fields);
  void Show(const std::string& what, int64_t done, int64_t total, const std::string& unit);

  Runtime& runtime_;
  RecordLog& log_;
  const std::vector<KvOptions>& cells_;
  int64_t n_records_, n_done_ = 0;
  double work_left_, work_done_ = 0, seconds_ = 0;  // of records that had to run
  Progress progress_;
  std::vector<Json> records_;
  Json dense_;  // of the record that runs
};

}  // namespace arkvale::tools
