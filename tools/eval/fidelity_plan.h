// What `eval fidelity` is told to compare: flags and preset, understood, and the windows of its texts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/runtime.h"
#include "tools/eval/eval_flags.h"
#include "tools/eval/fidelity_windows.h"

namespace arkvale::tools {

struct FidelityFlags {
  EvalFlags eval;
  std::string texts, contexts, steps_out;
  int64_t steps = 0, windows = 0, llama_chunks = 0;
  bool copy = false;

  void Add(Cli& cli);
  // InvalidArgument where flags contradict each other, before any model is loaded.
  Status Check() const;
};

struct PlannedWindow {
  size_t text = 0, context = 0;  // places in the plan's lists
  SegmentInfo info;
};

struct FidelityPlan {
  std::vector<std::vector<int32_t>> texts;  // tokens, without BOS
  std::vector<int64_t> contexts;
  int64_t steps = 0;
  int64_t windows = 0;       // of each text; 0: all chunks
  int64_t chunk_tokens = 0;  // 0: windows are spread over a text
  bool copy = false;
  KvOptions floor;
  std::vector<KvOptions> cells;        // dense, dense in another KV type if there is one, then the user's
  std::vector<NamedPlan> kv_plans;     // that the last cells come from
  std::vector<PlannedWindow> planned;  // every window, in the order they are run

  int64_t runs() const { return static_cast<int64_t>(planned.size()) * (copy ? 3 : 1); }
};

// Reads the texts.
Result<FidelityPlan> MakeFidelityPlan(const FidelityFlags& flags, const Runtime& runtime);

}  // namespace arkvale::tools
