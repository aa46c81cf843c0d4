// Records and summaries of eval tasks (evaluation protocol 8).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arkvale/engine.h"
#include "arkvale/kv_options.h"
#include "arkvale/stats.h"
#include "arkvale/status.h"
#include "kv/shape.h"
#include "tools/common/json.h"
#include "tools/common/output.h"

namespace arkvale::tools {

// How a question reaches a policy (evaluation protocol 0.3).
enum class Feeding : uint8_t {
  kThreeStage,  // "3stage": the context is prefilled, then every token of the question is a step under the policy
  kJoint,       // "joint": context and question are prefilled together, only the answer is decoded under the policy
};
const char* FeedingName(Feeding feeding);
// InvalidArgument for any other name.
Result<Feeding> ParseFeeding(const std::string& name);

// A plan of the run (--plans) and the cells that it makes.
struct NamedPlan {
  std::string name;                // tools/common/plan_input.h
  std::vector<KvOptions> options;  // of its cells
};

// What all records of a run share.
struct RunInfo {
  std::string task, model, model_sha256_prefix, kv_opt;
  std::string rope;  // --rope-scaling and --rope-scale where they are given: "yarn 4.0"
  KvType kv_type = KvType::kF16;
  int32_t threads = 0;
  Feeding feeding = Feeding::kThreeStage;
  std::vector<NamedPlan> plans;

  static Result<RunInfo> Make(const std::string& task, const EngineOptions& engine, const std::string& kv_opt,
                              int32_t threads);
};

// Of the run's plan that made this cell; empty: none did.
std::string PlanName(const RunInfo& run, const KvOptions& options);

// As --zones has it: "1024", "all", with V in 4 bits "1024:4".
std::string ZoneName(const KvOptions& options);

// Common fields that name a cell: schema .. commit. What a policy does not know is null. Of a cell that one of the
// run's plans made, `plan` is its name (else null), budget_tokens and topk_pages are means over the layers it plans.
Json CellFields(const RunInfo& run, const KvOptions& options);

double RecallsPerStep(const KvStats& stats);

// Common fields that say what a cell's sequence held and did: kv_hot_bytes .. recalls_per_step_mean, and the audit's.
Json StatsFields(const KvStats& stats);

// A text file written as the run goes on, unbuffered.
class TextFile {
 public:
  // Internal where it cannot be written. `append` keeps what it holds.
  static Result<std::unique_ptr<TextFile>> Open(const std::string& path, bool append);
  ~TextFile();
  TextFile(const TextFile&) = delete;
  TextFile& operator=(const TextFile&) = delete;

  Status Write(std::string_view text) { return output_.Write(text); }

 private:
  explicit TextFile(int fd) : fd_(fd), output_(fd) {}

  int fd_;
  Output output_;
};

// Writes records as they come: to stdout (--json) and DIR/records.jsonl.
class RecordLog {
 public:
  // An empty `dir`: no files. `resume` keeps the whole lines of an earlier run, else they go. Internal where the folder
  // cannot be written.
  static Result<std::unique_ptr<RecordLog>> Open(const std::string& dir, bool json, bool resume);

  // The earlier record whose common fields (CellFields, seed, record_id) are those of `record`, or null.
  const Json* Find(const Json& record) const;

  Status Write(const Json& record);
  // A record of an earlier run: to stdout alone.
  Status Repeat(const Json& record);
  // The last line, DIR/summary.json and DIR/summary.md; `markdown` is what stdout gets without --json.
  Status Finish(const Json& summary, const std::string& markdown);

 private:
  RecordLog(std::string dir, bool json) : dir_(std::move(dir)), json_(json) {}
  Status LoadEarlier(const std::string& path);

  std::string dir_;
  bool json_;
  std::unique_ptr<TextFile> file_;
  std::map<std::string, Json> earlier_;
};

// "0.0123", "1.2e-05": four significant digits, for tables.
std::string Short(double value);
// "0.95 [0.764, 0.991]"
std::string WithInterval(double value, double lo, double hi);

}  // namespace arkvale::tools
