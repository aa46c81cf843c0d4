// A model with its own pool and cache for tests that need logits of every row, and the text they run on.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "kv/cache.h"
#include "model/transformer.h"
#include "ops/op_table.h"

namespace arkvale::testing {

inline std::string ModelPath(const std::string& file) {
  const char* dir = std::getenv("ARKVALE_MODELS");
  return (dir != nullptr ? std::string(dir) : std::string(ARKVALE_SOURCE_DIR) + "/models") + "/" + file;
}
inline std::string SmolLm2() { return ModelPath("SmolLM2-135M-Instruct.Q4_1.gguf"); }
inline std::string Gemma3() { return ModelPath("gemma-3-270m-q4_k_m.gguf"); }

inline std::string NovelText() {
  std::ifstream file(std::string(ARKVALE_SOURCE_DIR) + "/tests/data/frankenstein_excerpt.txt");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct ParityRig {
  explicit ParityRig(const std::string& path, int threads = 2, bool packed = true) : pool(threads), workspace(threads) {
    ctx = {.ops = &CpuOps(), .pool = &pool, .workspace = &workspace};
    auto loaded = Transformer::Load(path);
    EXPECT_TRUE(loaded.ok()) << loaded.status().ToString();
    if (!loaded.ok()) return;
    model = std::move(*loaded);
    if (packed) EXPECT_TRUE(model->PackWeights(ctx).ok());
    cache = std::move(*KvCache::Make({.shape = model->config().kv_shape(), .host_limit_bytes = int64_t{4} << 30}, ctx));
  }

  static KvOptions Full() {
    KvOptions o;
    o.policy = KvPolicyKind::kFull;
    return o;
  }

  // Prefills ids in chunks; logits of the last `n_logits` positions (0: of the last one only, by the step path).
  std::vector<float> Prefill(SeqId seq, std::span<const int32_t> ids, int64_t chunk, int64_t n_logits) {
    std::vector<float> logits;
    const auto n = static_cast<int64_t>(ids.size());
    for (int64_t at = 0; at < n;) {
      int64_t end = std::min(n, at + chunk);
      const int64_t first_wanted = n - n_logits;
      if (n_logits > 0 && at < first_wanted && end > first_wanted) end = first_wanted;  // rows wanted all or none
      const bool wanted = n_logits > 0 ? at >= first_wanted : end == n;
      std::vector<float> rows;
      const Status status =
          model->Forward(ctx, *cache,
                         std::vector<ForwardItem>{{seq, ids.subspan(at, end - at),
                                                   end == n ? KvPhase::kPrefillLast : KvPhase::kPrefill,
                                                   !wanted        ? LogitsWanted::kNone
                                                   : n_logits > 0 ? LogitsWanted::kAll
                                                                  : LogitsWanted::kLast}},
                         rows);
      EXPECT_TRUE(status.ok()) << status.ToString();
      logits.insert(logits.end(), rows.begin(), rows.end());
      at = end;
    }
    return logits;
  }

  std::vector<float> Step(SeqId seq, int32_t id) {
    std::vector<float> logits;
    const Status status = model->Forward(
        ctx, *cache, std::vector<ForwardItem>{{seq, std::span<const int32_t>(&id, 1), KvPhase::kStep}}, logits);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return logits;
  }
  // Teacher-forced steps; the logits of each, joined.
  std::vector<float> Steps(SeqId seq, std::span<const int32_t> ids) {
    std::vector<float> all;
    for (const int32_t id : ids) {
      const auto row = Step(seq, id);
      all.insert(all.end(), row.begin(), row.end());
    }
    return all;
  }

  ThreadPool pool;
  Workspace workspace;
  OpContext ctx;
  std::unique_ptr<Transformer> model;
  std::unique_ptr<KvCache> cache;
};

}  // namespace arkvale::testing
