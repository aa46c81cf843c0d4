#include "tools/eval/fidelity_windows.h"

#include <algorithm>

#include "base/check.h"
#include "tools/eval/lockstep.h"

namespace arkvale::tools {

std::string SegmentInfo::WindowId() const {
  return text + "/" + text_sha256_prefix + "/" + std::to_string(context_tokens) + "/" + std::to_string(window) + "@" +
         std::to_string(start_token);
}

std::string SegmentInfo::Id() const {
  return WindowId() + "/" + (copy() ? "copy" + std::to_string(copy_start) : "prose") + "+" + std::to_string(n_steps);
}

std::vector<SegmentInfo> Segments(const SegmentInfo& window, bool copy) {
  std::vector<SegmentInfo> segments = {window};
  if (!copy) return segments;
  for (const int64_t start : {window.context_tokens / 4, window.context_tokens / 2}) {
    segments.push_back(window);
    segments.back().copy_start = start;
    segments.back().n_steps = kCopySteps;
  }
  return segments;
}

std::vector<int64_t> SpreadStarts(int64_t n_windows, int64_t n_text, int64_t n_ids) {
  std::vector<int64_t> starts;
  for (int64_t w = 0; w < n_windows; ++w) starts.push_back(WindowStart(w, n_windows, n_text, n_ids));
  return starts;
}

std::vector<int64_t> ChunkStarts(int64_t n_text, bool bos, int64_t chunk_tokens, int64_t limit) {
  const int64_t in_front = bos ? 1 : 0;
  int64_t n_chunks = (n_text + in_front) / chunk_tokens;
  if (limit > 0) n_chunks = std::min(n_chunks, limit);
  std::vector<int64_t> starts;
  for (int64_t k = 0; k < n_chunks; ++k) starts.push_back(k * chunk_tokens - in_front);
  return starts;
}

std::vector<int32_t> WindowIds(std::span<const int32_t> text, int64_t start_token, int64_t n_ids,
                               std::optional<int32_t> bos) {
  ARKVALE_CHECK(start_token >= (bos ? -1 : 0) && start_token + n_ids <= static_cast<int64_t>(text.size()));
  std::vector<int32_t> ids;
  ids.reserve(n_ids);
  for (int64_t i = start_token; i < start_token + n_ids; ++i) ids.push_back(i == start_token && bos ? *bos : text[i]);
  return ids;
}

std::span<const int32_t> StepIds(std::span<const int32_t> window_ids, const SegmentInfo& segment) {
  return window_ids.subspan(segment.copy() ? segment.copy_start : segment.context_tokens, segment.n_steps + 1);
}

}  // namespace arkvale::tools
