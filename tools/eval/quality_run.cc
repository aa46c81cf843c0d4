#include <algorithm>

#include "base/clock.h"
#include "engine/session.h"
#include "text/sampler.h"
#include "tools/eval/quality.h"

namespace arkvale::tools {
namespace {

// Tells all probes; takes itself off the cache when it goes.
class ProbeSet : public KvObserver {
 public:
  explicit ProbeSet(KvCache& cache) : cache_(cache) { cache_.SetObserver(this); }
  ~ProbeSet() override { cache_.SetObserver(nullptr); }
  ProbeSet(const ProbeSet&) = delete;
  ProbeSet& operator=(const ProbeSet&) = delete;

  void Add(std::unique_ptr<PageProbe> probe) { probes_.push_back(std::move(probe)); }
  Status OnQuery(const KvObservation& observation) override {
    for (const auto& probe : probes_) ARKVALE_RETURN_IF_ERROR(probe->OnQuery(observation));
    return OkStatus();
  }

 private:
  KvCache& cache_;
  std::vector<std::unique_ptr<PageProbe>> probes_;
};

using Tell = std::function<Status(const char*, int64_t, int64_t)>;

Status Feed(const Tokenizer& tokenizer, Session& session, const QualityInput& input, int64_t steps, const Tell& tell,
            QualityRecord& record) {
  const auto n_fed = std::min(steps, std::ssize(input.fed));
  for (int64_t i = 0; i < n_fed; ++i) {
    ARKVALE_RETURN_IF_ERROR(tell("steps", i, steps));
    ARKVALE_RETURN_IF_ERROR(session.Step(input.fed[i], /*want_logits=*/i + 1 == n_fed));
  }
  record.tokens_question = record.steps = n_fed;
  if (!input.answers || n_fed == 0) return OkStatus();
  ARKVALE_ASSIGN_OR_RETURN(const auto greedy, Sampler::Create({}));
  for (; record.steps < steps; ++record.steps, ++record.tokens_generated) {
    ARKVALE_RETURN_IF_ERROR(tell("steps", record.steps, steps));
    ARKVALE_ASSIGN_OR_RETURN(const int32_t id, greedy->Sample(session.logits()));
    if (tokenizer.IsEndOfGeneration(id)) break;
    ARKVALE_RETURN_IF_ERROR(session.Step(id));
  }
  return OkStatus();
}

}  // namespace

Result<QualityRecord> ObserveRecord(Runtime& runtime, const QualityInput& input, const KvOptions& options,
                                    std::span<const std::unique_ptr<QualityStudy>> studies,
                                    const std::vector<int32_t>& layers, int64_t steps, const Tell& tell) {
  const int64_t start_ns = NowNs();
  ProbeSet probes(runtime.cache());
  for (const auto& study : studies) {
    probes.Add(std::make_unique<PageProbe>(runtime.op_context(), runtime.cache().shape(), study->Needs(), layers,
                                           [&study](const LayerSight& sight) { study->Add(sight); }));
  }
  ARKVALE_ASSIGN_OR_RETURN(Session session, Session::Make(runtime, options));
  const auto n_context = std::ssize(input.context);
  ARKVALE_RETURN_IF_ERROR(session.Prefill(input.context, /*want_logits=*/false,
                                          [&](int64_t done) { return tell("prefill", done, n_context); }));
  QualityRecord record{.id = input.id, .tokens_context = n_context};
  ARKVALE_RETURN_IF_ERROR(Feed(runtime.tokenizer(), session, input, steps, tell, record));
  record.wall_ms = MsSince(start_ns);
  return record;
}

}  // namespace arkvale::tools
