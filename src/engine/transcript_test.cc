#include "engine/transcript.h"

#include <gtest/gtest.h>

namespace arkvale {
namespace {

TEST(IsWholeAnswer, OnlyWhatTheModelSaidAndAllOfIt) {
  const std::vector<ChatMessage> talk = {
      {"user", "Yes."}, {"assistant", " Yes. \n"}, {"user", "And?"}, {"assistant", "<think>Hm.</think>No."}};
  EXPECT_TRUE(IsWholeAnswer({"Yes.", false, 1}, talk));
  EXPECT_TRUE(IsWholeAnswer({" Yes. \n", false, 1}, talk));
  EXPECT_TRUE(IsWholeAnswer({"<think>Hm.</think>No.", false, 3}, talk));
  EXPECT_FALSE(IsWholeAnswer({"No.", false, 3}, talk)) << "the template left out a part";
  EXPECT_FALSE(IsWholeAnswer({"Yes.", false, 0}, talk)) << "a question";
  EXPECT_FALSE(IsWholeAnswer({"Yes.", true, -1}, talk)) << "a piece of the template";
}

}  // namespace
}  // namespace arkvale
