// What each policy promises of a layer under a budget; policy_conformance_test.cc holds all of them to it.
#pragma once

#include "arkvale/kv_options.h"

namespace arkvale {

struct PolicyPromises {
  bool bounded = false;       // between batches no kv head holds more hot tokens than the budget
  bool keeps_sinks = false;   // every step reads the first token
  bool keeps_recent = false;  // every step reads the token before its own
  bool reversible = false;    // what a step does not read may be read by a later one
};

constexpr PolicyPromises PromisesOf(KvPolicyKind policy) {
  switch (policy) {
    case KvPolicyKind::kFull: return {.keeps_sinks = true, .keeps_recent = true, .reversible = true};
    case KvPolicyKind::kArkvale:
      return {.bounded = true, .keeps_sinks = true, .keeps_recent = true, .reversible = true};
    // The page before the last one competes with the others.
    case KvPolicyKind::kQuest: return {.reversible = true};
    case KvPolicyKind::kStreaming: return {.bounded = true, .keeps_sinks = true, .keeps_recent = true};
    case KvPolicyKind::kH2o: return {.bounded = true, .keeps_recent = true};
    case KvPolicyKind::kTova: return {.bounded = true};
    case KvPolicyKind::kSnapkv:
    case KvPolicyKind::kPyramidkv:
    case KvPolicyKind::kXkv: return {.keeps_recent = true};
  }
  return {};
}

}  // namespace arkvale
