// Which windows of a text `eval fidelity` compares, and the tokens of each (evaluation protocol 4).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace arkvale::tools {

// Steps of a copy run.
inline constexpr int64_t kCopySteps = 128;

// One run of all cells over the steps of one window.
struct SegmentInfo {
  std::string text, text_sha256_prefix;  // file name, and what tells it from another of that name
  int64_t window = 0;                    // within the file
  int64_t start_token = 0;     // of the window within the text; -1: a BOS stands before the text's first token
  int64_t context_tokens = 0;  // N, prefilled
  int64_t n_steps = 0;         // M
  int64_t copy_start = -1;     // A of a copy run; -1: the steps continue the text

  bool copy() const { return copy_start >= 0; }
  // Names the window, of which copy runs are a part.
  std::string WindowId() const;
  // Names the segment: equal only where the tokens fed are.
  std::string Id() const;
};

// The window, and its copy runs where `copy`.
std::vector<SegmentInfo> Segments(const SegmentInfo& window, bool copy);

// start_token of each window of n_ids tokens, spread over a text of n_text >= n_ids tokens from its start to its end.
std::vector<int64_t> SpreadStarts(int64_t n_windows, int64_t n_text, int64_t n_ids);

// Chunks as llama.cpp's perplexity program cuts them: start_token of the consecutive whole chunks of a text, in front
// of which stands a BOS where `bos`; the first `limit` ones, 0: all.
std::vector<int64_t> ChunkStarts(int64_t n_text, bool bos, int64_t chunk_tokens, int64_t limit);
// What is prefilled of a chunk, and the steps after it; the last token is only predicted.
inline int64_t ChunkContext(int64_t chunk_tokens) { return chunk_tokens / 2; }
inline int64_t ChunkSteps(int64_t chunk_tokens) { return chunk_tokens - 1 - chunk_tokens / 2; }

// The n_ids tokens from start_token on; a `bos` replaces the first. A start_token of -1 needs one.
std::vector<int32_t> WindowIds(std::span<const int32_t> text, int64_t start_token, int64_t n_ids,
                               std::optional<int32_t> bos);
// Those that a segment's steps are fed, and the one that its last step predicts: n_steps + 1.
std::span<const int32_t> StepIds(std::span<const int32_t> window_ids, const SegmentInfo& segment);

}  // namespace arkvale::tools
