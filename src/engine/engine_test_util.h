// The real models, a long text and short ways to ask, for the engine's model tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "arkvale/engine.h"

namespace arkvale {

inline constexpr int32_t kTestThreads = 2;

inline std::string ModelPath(const std::string& file) {
  const char* dir = std::getenv("ARKVALE_MODELS");
  return (dir != nullptr ? std::string(dir) : std::string(ARKVALE_SOURCE_DIR) + "/models") + "/" + file;
}

inline std::string Novel(size_t n_bytes) {
  std::ifstream file(std::string(ARKVALE_SOURCE_DIR) + "/tests/data/frankenstein_excerpt.txt");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_GE(text.str().size(), n_bytes);
  return text.str().substr(0, n_bytes);
}

inline EngineOptions SmolLm2() {
  EngineOptions options;
  options.model_path = ModelPath("SmolLM2-135M-Instruct.Q4_1.gguf");
  options.threads = kTestThreads;
  return options;
}

inline EngineOptions Gemma3() {
  EngineOptions options = SmolLm2();
  options.model_path = ModelPath("gemma-3-270m-q4_k_m.gguf");
  return options;
}

inline std::unique_ptr<Engine> Open(const EngineOptions& options) {
  auto engine = Engine::Open(options);
  EXPECT_TRUE(engine.ok()) << engine.status().ToString();
  return engine.ok() ? std::move(*engine) : nullptr;
}

inline KvOptions Kv(KvPolicyKind policy, int64_t budget_tokens) {
  KvOptions kv;
  kv.policy = policy;
  kv.budget_tokens = budget_tokens;
  return kv;
}

// With a zone of all that a step does not read.
inline KvOptions ZoneKv(int64_t budget_tokens) {
  KvOptions kv = Kv(KvPolicyKind::kArkvale, budget_tokens);
  kv.digest = DigestKind::kCode2;
  kv.zone_tokens = kZoneAll;
  return kv;
}

inline GenerateRequest Request(const std::string& context, const std::string& question, const KvOptions& kv) {
  GenerateRequest request;
  request.context = context;
  request.question = question;
  request.max_tokens = 16;
  request.kv = kv;
  return request;
}

inline GenerateResult Generate(Engine& engine, const GenerateRequest& request) {
  const auto result = engine.Generate(request, {});
  EXPECT_TRUE(result.ok()) << result.status().ToString();
  return result.ok() ? *result : GenerateResult{};
}

}  // namespace arkvale
