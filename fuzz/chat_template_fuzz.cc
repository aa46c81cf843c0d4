// Chat templates as a model file may hold them, and contents as a user may give them: a Status or segments, in time and
// memory that have limits, and no content outside of the segments that are contents.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace arkvale;
  // Not a letter of it can come from a template that does not hold it.
  const std::string mark = "\x11\x12\x13";
  FuzzedDataProvider input(data, size);
  const bool open_answer = input.ConsumeBool();
  std::vector<ChatMessage> messages(input.ConsumeIntegralInRange<size_t>(0, 4));
  for (ChatMessage& message : messages) {
    message.role = input.PickValueInArray<const char*>({"user", "assistant", "system", "tool"});
    message.content = input.ConsumeRandomLengthString(64);
    if (input.ConsumeBool()) message.content += mark;
  }
  ChatTemplate chat_template{.bos = "<s>", .eos = "</s>", .adds_bos = input.ConsumeBool()};
  chat_template.source = input.ConsumeRemainingBytesAsString();
  const bool mark_is_ours = chat_template.source.find_first_of(mark + "\\") == std::string::npos;
  const auto segments = RenderChat(chat_template, messages, open_answer);
  if (!segments.ok()) {
    ARKVALE_CHECK(!segments.status().message().empty());
    return 0;
  }
  for (const TextSegment& segment : *segments) {
    ARKVALE_CHECK(!segment.text.empty());
    ARKVALE_CHECK(segment.parse_special == (segment.message < 0));
    ARKVALE_CHECK(segment.message < static_cast<int32_t>(messages.size()));
    if (segment.parse_special && mark_is_ours) ARKVALE_CHECK(segment.text.find(mark) == std::string::npos);
  }
  return 0;
}
