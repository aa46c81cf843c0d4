#include "text/text_stream.h"

#include <algorithm>
#include <utility>

#include "text/utf8.h"

namespace arkvale {
namespace {

// Length of the longest end of `text` that begins `stop` without being all of it.
size_t PossibleStart(std::string_view text, std::string_view stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.ends_with(stop.substr(0, length))) return length;
  }
  return 0;
}

}  // namespace

TextStream::TextStream(PieceFn piece, std::vector<std::string> stops)
    : piece_(std::move(piece)), stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

std::string TextStream::Push(int32_t id) {
  if (stopped_) return {};
  bytes_ += piece_(id);
  bytes_.erase(0, AppendValidUtf8(bytes_, held_));
  return Release();
}

std::string TextStream::Finish() {
  if (stopped_) return {};
  if (!bytes_.empty()) held_ += kReplacementCharacter;
  bytes_.clear();
  std::string text = Release();
  text += std::exchange(held_, {});
  return text;
}

std::string TextStream::Release() {
  // The stop string completed first wins, of those the longest: what a stream of single characters would find.
  size_t begin = std::string::npos;
  size_t end = std::string::npos;
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) {
      keep = std::max(keep, PossibleStart(held_, stop));
    } else if (at + stop.size() < end || (at + stop.size() == end && at < begin)) {
      begin = at;
      end = at + stop.size();
    }
  }
  if (begin != std::string::npos) {
    stopped_ = true;
    held_.resize(begin);
    return std::exchange(held_, {});
  }
  std::string text = held_.substr(0, held_.size() - keep);
  held_.erase(0, text.size());
  return text;
}

}  // namespace arkvale
