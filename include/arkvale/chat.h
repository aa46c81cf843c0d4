// Chat: a conversation over many turns on one sequence. A turn prefills only what is new, exactly, over all pages; the
// answer is decoded under the KV policy.
//
//   auto chat = (*engine)->StartChat({.system = "You are brief."});
//   auto turn = (*chat)->Send("Who is Walton?", {}, {.on_text = print});
//
// Threads: as the engine it comes from.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "arkvale/engine.h"
#include "arkvale/kv_options.h"
#include "arkvale/stats.h"
#include "arkvale/status.h"

namespace arkvale {

struct ChatOptions {
  std::string system;  // system message; empty = the template's own default
  KvOptions kv;
};

struct TurnOptions {
  int32_t max_tokens = 512;
  SamplingOptions sampling;
};

class Chat {
 public:
  ~Chat();

  // One user message and its answer. GenerateResult::prompt_tokens counts the whole conversation so far, reused_tokens
  // what was in the cache already. A cancelled answer stays in the conversation as far as it came; after any other
  // error the conversation is as before the call. InvalidArgument: empty or invalid UTF-8 text, a conversation longer
  // than the context.
  Result<GenerateResult> Send(std::string_view text, const TurnOptions& options, const GenerateCallbacks& callbacks,
                              GenerateResult* partial = nullptr);
  // Forgets every turn but the system message.
  Status Reset();

  int64_t n_tokens() const;  // in the cache
  Result<KvStats> stats() const;

 private:
  friend class Engine;
  struct Impl;
  explicit Chat(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace arkvale
