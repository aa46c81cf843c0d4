#include "tools/chat/input.h"

#include <gtest/gtest.h>

namespace arkvale::tools {
namespace {

TEST(ParseInput, MessagesAreSentAsTheyAre) {
  EXPECT_EQ(ParseInput(" two  words \n").kind, InputKind::kMessage);
  EXPECT_EQ(ParseInput(" two  words \n").text, " two  words \n");
  EXPECT_EQ(ParseInput(" /usr/bin").kind, InputKind::kMessage);
  for (const char* blank : {"", "  ", "\n\t"}) EXPECT_EQ(ParseInput(blank).kind, InputKind::kEmpty);
}

TEST(ParseInput, Commands) {
  EXPECT_EQ(ParseInput("/stats ").kind, InputKind::kStats);
  EXPECT_EQ(ParseInput("/reset").kind, InputKind::kReset);
  EXPECT_EQ(ParseInput("/quit").kind, InputKind::kQuit);
  EXPECT_EQ(ParseInput("/help").kind, InputKind::kHelp);
  EXPECT_EQ(ParseInput("/file  my book.txt ").kind, InputKind::kFile);
  EXPECT_EQ(ParseInput("/file  my book.txt ").text, "my book.txt");
}

TEST(ParseInput, UnknownOnesAreNamedWithAHint) {
  EXPECT_EQ(ParseInput("/stat").kind, InputKind::kUnknown);
  EXPECT_NE(ParseInput("/stat").text.find("/stat: did you mean /stats?"), std::string::npos);
  EXPECT_NE(ParseInput("/what now").text.find("command /what: see /help"), std::string::npos);
  EXPECT_NE(ParseInput("/file").text.find("needs a PATH"), std::string::npos);
  EXPECT_NE(ParseInput("/quit now").text.find("no argument"), std::string::npos);
}

TEST(CommandHelp, NamesEveryCommand) {
  for (const char* name : {"/file PATH", "/stats", "/reset", "/help", "/quit"}) {
    EXPECT_NE(CommandHelp().find(name), std::string::npos) << name;
  }
}

TEST(WithTextBefore, LeavesOneBlankLine) {
  EXPECT_EQ(WithTextBefore("", "Why?"), "Why?");
  EXPECT_EQ(WithTextBefore("Text.", "Why?"), "Text.\n\nWhy?");
  EXPECT_EQ(WithTextBefore("Text.\n", "Why?"), "Text.\n\nWhy?");
}

}  // namespace
}  // namespace arkvale::tools
