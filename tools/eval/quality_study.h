// What the selection-quality tasks (evaluation protocol 5) have in common: a study is fed with what every query of the
// dense run sees and makes the lines of a record of it, and summary rows are made of lines alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kv/shape.h"
#include "tools/common/json.h"
#include "tools/eval/page_probe.h"
#include "tools/eval/quality_summary.h"
#include "tools/eval/records.h"

namespace arkvale::tools {

struct QualityOptions {
  std::vector<int64_t> ks;      // of recall@k
  std::vector<int32_t> layers;  // observed ones; ascending
  std::vector<int32_t> groups;  // g: kv heads that share a ranking, each a measure
  std::vector<int64_t> page_ids, capacities, topks;
  bool simulate = false;
};

struct QualityRecord {
  std::string id;
  int64_t tokens_context = 0, tokens_question = 0, tokens_generated = 0;
  int64_t steps = 0;  // observed
  double wall_ms = 0;
};

// A study sees the cells of one page size: KvOptions of arkvale that differ in budget and digest.
struct StudyInput {
  RunInfo run;
  KvShape shape;
  QualityOptions options;
  std::vector<KvOptions> cells;

  int32_t page_tokens() const { return cells.front().page_tokens; }
  // Distinct digests of the cells, in their order.
  std::vector<DigestKind> Digests() const;
};

class QualityStudy {
 public:
  virtual ~QualityStudy() = default;
  virtual ProbeNeeds Needs() const = 0;
  virtual void Add(const LayerSight& sight) = 0;
  // The record's lines, with all that the summary needs of them; the next sight is another record's.
  virtual std::vector<Json> EndRecord(const QualityRecord& record) = 0;
};

// A task: how its study and its summary are made and the rows are shown.
std::unique_ptr<QualityStudy> MakeRecallStudy(StudyInput input);
std::unique_ptr<QualityStudy> MakeSparsityStudy(StudyInput input);
std::unique_ptr<QualityStudy> MakeDynamicsStudy(StudyInput input);
std::unique_ptr<QualityStudy> MakeRecallsStudy(StudyInput input);
std::unique_ptr<QualitySummary> MakeRecallSummary();
std::unique_ptr<QualitySummary> MakeSparsitySummary();
std::unique_ptr<QualitySummary> MakeDynamicsSummary();
std::unique_ptr<QualitySummary> MakeRecallsSummary();
std::string RecallTable(const Json& summary);
std::string SparsityTable(const Json& summary);
std::string DynamicsTable(const Json& summary);
std::string RecallsTable(const Json& summary);

// Common fields of a record: those of the cell, and what the dense run was fed.
Json QualityFields(const RunInfo& run, const KvOptions& options, const QualityRecord& record);

}  // namespace arkvale::tools
