#include "tools/common/cli.h"

#include <gtest/gtest.h>

#include "tools/common/exit_code.h"

namespace arkvale::tools {
namespace {

TEST(ParseSize, UnitsOfBothKinds) {
  EXPECT_EQ(*ParseSize("1000"), 1000);
  EXPECT_EQ(*ParseSize("512MiB"), int64_t{512} << 20);
  EXPECT_EQ(*ParseSize("8GiB"), int64_t{8} << 30);
  EXPECT_EQ(*ParseSize("1.5kB"), 1500);
  EXPECT_EQ(*ParseSize("0"), 0);
  for (const char* bad : {"", "MiB", "12 MiB", "-1", "1XB", "nan", "inf", "99999999TiB", "1e3", "5MiBx"}) {
    EXPECT_EQ(ParseSize(bad).status().kind(), StatusKind::kInvalidArgument) << bad;
  }
}

TEST(ParseNumbers, ListsOfWholeNumbers) {
  EXPECT_EQ(*ParseNumbers("--depths", "128,2048", 1), (std::vector<int64_t>{128, 2048}));
  for (const char* bad : {"", "1,", "a", "1.5", "0", "-3", "99999999999999999999", "1 2"}) {
    const Status status = ParseNumbers("--depths", bad, 1).status();
    EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument) << bad;
    EXPECT_TRUE(status.message().starts_with("--depths: ")) << status.message();
  }
}

TEST(Nearest, FindsTyposAndNothingElse) {
  const std::vector<std::string> flags = {"--kv-budget", "--kv-page", "--json"};
  EXPECT_EQ(Nearest("--kv-bugdet", flags), "--kv-budget");
  EXPECT_EQ(Nearest("--jsno", flags), "--json");
  EXPECT_EQ(Nearest("--colour", flags), "");
}

TEST(ExitCode, IsTheContract) {
  EXPECT_EQ(ExitCode(OkStatus()), 0);
  EXPECT_EQ(ExitCode(InvalidArgument("")), 2);
  EXPECT_EQ(ExitCode(NotFound("")), 3);
  EXPECT_EQ(ExitCode(Corrupt("")), 3);
  EXPECT_EQ(ExitCode(ResourceExhausted("")), 4);
  EXPECT_EQ(ExitCode(Cancelled("")), 130);
  EXPECT_EQ(ExitCode(Unavailable("")), 1);
  EXPECT_EQ(ExitCode(Internal("")), 1);
}

}  // namespace
}  // namespace arkvale::tools
