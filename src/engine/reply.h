// Reply: one answer in the making, whatever its prompt: feeds ids, samples, streams text, watches for cancel and fills
// a GenerateResult. Used once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arkvale/engine.h"
#include "engine/prefix_cache.h"
#include "engine/session.h"
#include "text/sampler.h"
#include "text/text_stream.h"

namespace arkvale {

struct ReplyOptions {
  int32_t max_tokens = 256;
  SamplingOptions sampling;
  std::vector<std::string> stop;
};

class Reply {
 public:
  // All references must outlive it. `result` is filled as the run goes on: after an error it holds what was produced.
  Reply(Runtime& runtime, PrefixCache& prefixes, ReplyOptions options, const GenerateCallbacks& callbacks,
        GenerateResult& result);

  // What can fail before there are ids: InvalidArgument for the options.
  Status Prepare();
  // InvalidArgument where `n_tokens` of the prompt (`what` in the message) leave no room for an answer.
  Status CheckLength(const char* what, int64_t n_tokens) const;

  // Prefills what `session` lacks of `ids`; it holds a proper prefix of them.
  Status Prefill(Session& session, std::span<const int32_t> ids, bool want_logits);
  // Feeds `ids` as decode steps; the last one's logits are wanted.
  Status Question(Session& session, std::span<const int32_t> ids);
  // Decodes until the answer ends; the session has the logits of its first token.
  Status Answer(Session& session);
  // Call once after the last stage or its failure, with the status of the run.
  void Finish(const Session& session, const Status& status);

 private:
  Status NextToken(Session& session, bool& done);
  void Emit(std::string_view text);
  Status CheckCancel() const;
  void Report(Stage stage, int64_t done, int64_t total) const;

  Runtime& runtime_;
  PrefixCache& prefixes_;
  const ReplyOptions options_;
  const GenerateCallbacks& callbacks_;
  GenerateResult& result_;
  const int64_t start_ns_;
  const KvTimings timings_before_;

  std::unique_ptr<Sampler> sampler_;
  TextStream stream_;
  std::vector<double> step_ms_;
};

}  // namespace arkvale
