// The flags of every command that runs a model (interface: KV options).
#pragma once

#include <cstdint>
#include <string>

#include "arkvale/engine.h"
#include "arkvale/kv_options.h"
#include "tools/common/cli.h"

namespace arkvale::tools {

// -m, --device, --threads, --ctx, --kv-type, --kv-host-mem, --kv-hot-mem, --rope-scaling, --rope-scale.
class EngineFlags {
 public:
  void Add(Cli& cli);
  Result<EngineOptions> Get() const;

 private:
  std::string model_, device_ = "cpu", kv_type_ = "f16", host_mem_, hot_mem_, rope_scaling_;
  int32_t threads_ = 0;
  int64_t ctx_tokens_ = 0;
  float rope_scale_ = 0;
  const CLI::Option* rope_scale_option_ = nullptr;
};

// --kv-policy and all that shapes one sequence's cache. A command that runs many policies and budgets has its own flags
// for these two and leaves them out here.
class KvFlags {
 public:
  void Add(Cli& cli, bool with_policy_and_budget);
  // The budget is not rounded yet.
  Result<KvOptions> Get() const;

 private:
  KvOptions defaults_;
  std::string policy_, digest_, budget_, topk_, opts_;
  int32_t page_tokens_ = 0, sinks_ = 0, window_ = 0, dense_layers_ = 0, group_ = 0, audit_every_ = 0;
};

// Valid options with their budget rounded down to whole pages where the policy counts those, which is said on stderr.
// kAutoBudget stays.
KvOptions RoundBudget(KvOptions options);

// Checked against the model, then rounded. kAutoBudget is for the engine to check and to resolve.
Result<KvOptions> CheckBudget(KvOptions options, const ModelInfo& model);

}  // namespace arkvale::tools
