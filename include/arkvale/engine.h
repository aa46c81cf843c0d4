// Engine: loads a GGUF model and answers requests over long contexts. The entrance for users of the library.
//
//   auto engine = arkvale::Engine::Open({.model_path = "model.gguf"});
//   arkvale::GenerateRequest request{.context = text, .question = "What is the pass key?"};
//   auto result = (*engine)->Generate(request, {.on_text = [](std::string_view s) { ... }});
//
// A conversation over many turns is a Chat (arkvale/chat.h).
//
// Threads: one call at a time; `cancel` may be set from any thread or a signal handler.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "arkvale/kv_options.h"
#include "arkvale/stats.h"
#include "arkvale/status.h"

namespace arkvale {

// Longer contexts than a model was trained for.
enum class RopeScaling : uint8_t {
  kModel,   // what the file says
  kNone,    // none, whatever the file says
  kLinear,  // positions divided by the factor (arXiv 2306.15595)
  kYarn,    // YaRN (arXiv 2309.00071)
};

struct EngineOptions {
  std::string model_path;         // the first file of a split model
  int32_t threads = 0;            // 0 = physical cores
  int64_t ctx_tokens = 0;         // longest context; 0 = the model's
  int64_t host_limit_bytes = 0;   // limit of KV in RAM; 0 = half of RAM, less beside large weights
  int32_t prefill_chunk = 512;    // tokens a prefill advances at once: memory for activations, never results
  int64_t hot_limit_bytes = 0;    // --kv-hot-mem: hard limit of hot K, V and digests over all sequences; 0 = none
  KvType kv_type = KvType::kF16;  // --kv-type: of K and V, in every tier
  RopeScaling rope_scaling = RopeScaling::kModel;
  float rope_scale = 0.0f;  // the factor, > 1 stretches; 0 = the file's
  // Prompts whose K and V are kept for a later request that begins with them (prefix reuse); the oldest goes first, and
  // all of them before a request fails for memory. 0 = off.
  int32_t kept_sequences = 4;
};

struct SamplingOptions {
  float temperature = 0.0f;  // 0 = greedy
  int32_t top_k = 40;        // 0 = off
  float top_p = 0.95f;       // 1 = off
  float min_p = 0.05f;       // 0 = off
  uint32_t seed = 0;
  // At most one of the two; the answer then can only be what it allows.
  std::string grammar;      // GBNF source with the rule `root`
  std::string json_schema;  // JSON schema source
};

struct GenerateRequest {
  std::string context;   // prefilled exactly (stage 1)
  std::string question;  // fed token by token under the policy (stage 2); may be empty
  bool chat = false;     // wrap context + question as one user turn of the model's chat template
  int32_t max_tokens = 256;
  std::vector<std::string> stop;
  SamplingOptions sampling;
  KvOptions kv;
};

enum class Stage : uint8_t { kPrefill, kQuestion, kAnswer };

struct GenerateCallbacks {
  std::function<void(std::string_view text)> on_text;                         // whole UTF-8 characters, as they come
  std::function<void(Stage stage, int64_t done, int64_t total)> on_progress;  // tokens
  const std::atomic<bool>* cancel = nullptr;                                  // true ends the run as Cancelled
};

struct GenerateResult {
  std::string text;
  std::vector<int32_t> token_ids;  // answer only
  std::string stop_reason;         // "eog", "stop", "length" or "cancelled"
  int64_t prompt_tokens = 0;       // context ids, BOS included
  int64_t reused_tokens = 0;       // of prompt_tokens, taken from an earlier sequence instead of being prefilled
  int64_t question_tokens = 0;
  int64_t budget_tokens = 0;  // KvOptions::budget_tokens; where that is kAutoBudget, what it became
  double load_ms = 0;
  double ttft_ms = 0;  // from the call to the first answer token
  double prefill_ms = 0;
  double decode_ms_median = 0;  // per answer step
  double decode_ms_p95 = 0;
  KvStats kv;
  KvTimings kv_timings;
};

// What callers and error messages need to know of a loaded model.
struct ModelInfo {
  std::string path, architecture, name;
  int32_t n_layers = 0, n_vocab = 0, d_model = 0, n_q_heads = 0, n_kv_heads = 0, head_dim = 0;
  int64_t context_tokens = 0, weight_bytes = 0;
  bool has_chat_template = false;
};

class Chat;
struct ChatOptions;

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> Open(const EngineOptions& options);
  ~Engine();

  // Three stages (algorithms 5): prefill of the context, the question step by step, the answer.
  // InvalidArgument: empty prompt, prompt longer than the context, invalid UTF-8, options that do not fit.
  // After Cancelled or an error in the answer `partial` (if given) holds what was produced.
  Result<GenerateResult> Generate(const GenerateRequest& request, const GenerateCallbacks& callbacks,
                                  GenerateResult* partial = nullptr);

  // A conversation; it must end before the engine does. InvalidArgument: the model has no chat template, or options
  // that do not fit.
  Result<std::unique_ptr<Chat>> StartChat(const ChatOptions& options);

  // Sets in `options` what a plan file's text says for this model: policy, budgets and top-k of every layer, page size
  // or snap-window. On an error they stay as they were. Corrupt: no plan, a damaged one, or one of another model, which
  // is named. InvalidArgument: its budgets do not fit the other options, for example sinks and window.
  Status ApplyPlan(std::string_view plan_text, KvOptions& options) const;

  const ModelInfo& model() const;
  int32_t threads() const;
  KvType kv_type() const;

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace arkvale
