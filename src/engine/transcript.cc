#include "engine/transcript.h"

#include <utility>

namespace arkvale {
namespace {

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\n\v\f\r";
  const size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

}  // namespace

bool IsWholeAnswer(const TextSegment& segment, std::span<const ChatMessage> messages) {
  if (segment.message < 0) return false;
  const ChatMessage& message = messages[static_cast<size_t>(segment.message)];
  return message.role == "assistant" && Trim(message.content) == Trim(segment.text);
}

Transcript::Transcript(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const std::string& system)
    : tokenizer_(tokenizer), chat_template_(chat_template) {
  if (system.empty()) return;
  messages_.push_back({"system", system});
  answer_ids_.emplace_back();
}

void Transcript::AddQuestion(std::string text) {
  messages_.push_back({"user", std::move(text)});
  answer_ids_.emplace_back();
}

void Transcript::DropOpenQuestion() {
  if (messages_.empty() || messages_.back().role != "user") return;
  messages_.pop_back();
  answer_ids_.pop_back();
}

void Transcript::AddAnswer(std::string text, std::vector<int32_t> ids) {
  messages_.push_back({"assistant", std::move(text)});
  answer_ids_.push_back(std::move(ids));
}

void Transcript::Clear() {
  const size_t n = !messages_.empty() && messages_.front().role == "system" ? 1 : 0;
  messages_.resize(n);
  answer_ids_.resize(n);
  encoded_.clear();
}

const std::vector<int32_t>* Transcript::FindEncoded(size_t i, const TextSegment& segment) const {
  if (i >= encoded_.size() || encoded_[i].segment.parse_special != segment.parse_special) return nullptr;
  return encoded_[i].segment.text == segment.text ? &encoded_[i].ids : nullptr;
}

Result<std::vector<int32_t>> Transcript::Render() {
  ARKVALE_ASSIGN_OR_RETURN(std::vector<TextSegment> segments, RenderChat(chat_template_, messages_, true));
  std::vector<Encoded> encoded;
  std::vector<int32_t> all;
  for (size_t i = 0; i < segments.size(); ++i) {
    std::vector<int32_t> ids;
    if (IsWholeAnswer(segments[i], messages_)) {
      ids = answer_ids_[static_cast<size_t>(segments[i].message)];
    } else if (const auto* known = FindEncoded(i, segments[i])) {
      ids = *known;
    } else {
      ARKVALE_ASSIGN_OR_RETURN(ids, tokenizer_.EncodeSegments({&segments[i], 1}, i == 0));
    }
    all.insert(all.end(), ids.begin(), ids.end());
    encoded.push_back({std::move(segments[i]), std::move(ids)});
  }
  encoded_ = std::move(encoded);
  return all;
}

}  // namespace arkvale
