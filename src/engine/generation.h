// Generation: one run of the three stages (algorithms 5). Used once.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arkvale/engine.h"
#include "engine/prompt.h"
#include "engine/session.h"
#include "text/sampler.h"
#include "text/text_stream.h"

namespace arkvale {

class Generation {
 public:
  // All arguments must outlive it. `result` is filled as the run goes on: after an error it holds what was produced.
  Generation(Runtime& runtime, const GenerateRequest& request, const GenerateCallbacks& callbacks,
             GenerateResult& result);

  // Errors as Engine::Generate.
  Status Run();

 private:
  Status Prepare();
  Status Check() const;
  Status ReadPrompt();  // stages 1 and 2
  Status Answer();      // stage 3
  Status NextToken(bool& done);
  void Emit(std::string_view text);
  Status CheckCancel() const;
  void Report(Stage stage, int64_t done, int64_t total) const;
  void CollectStats();

  Runtime& runtime_;
  const GenerateRequest& request_;
  const GenerateCallbacks& callbacks_;
  GenerateResult& result_;
  const int64_t start_ns_;
  const KvTimings timings_before_;

  PromptIds prompt_;
  std::unique_ptr<Sampler> sampler_;
  std::optional<Session> session_;
  TextStream stream_;
  std::vector<double> step_ms_;
};

}  // namespace arkvale
