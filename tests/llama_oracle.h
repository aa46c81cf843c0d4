// LlamaOracle: llama.cpp on the same file in the same process, asked for logits.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "arkvale/status.h"

namespace arkvale::testing {

// Logits of positions [from, ids.size()) of one forward over `ids`, [n, n_vocab]. The context is fresh for each call.
class LlamaOracle {
 public:
  static Result<std::unique_ptr<LlamaOracle>> Load(const std::string& path, int threads);
  ~LlamaOracle();

  Result<std::vector<float>> Logits(std::span<const int32_t> ids, size_t from);
  int32_t n_vocab() const;
  std::vector<int32_t> Tokenize(const std::string& text) const;  // BOS where the model wants it, specials not parsed

 private:
  struct Impl;
  explicit LlamaOracle(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace arkvale::testing
