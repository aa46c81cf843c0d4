#include "tools/eval/record_runner.h"

#include <gtest/gtest.h>

namespace arkvale::tools {
namespace {

TEST(RecordRunner, TimeLeftGoesByTheWorkDone) {
  EXPECT_EQ(TimeLeft(0, 0, 10), "");
  EXPECT_EQ(TimeLeft(30, 1000, 2000), "60 s left");
  EXPECT_EQ(TimeLeft(30, 1000, 10000), "5 min left");
  EXPECT_EQ(TimeLeft(3600, 1, 2.5), "2.5 h left");
  EXPECT_EQ(TimeLeft(5, 1, 0), "0 s left");
}

}  // namespace
}  // namespace arkvale::tools
