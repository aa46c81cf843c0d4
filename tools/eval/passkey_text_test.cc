#include "tools/eval/passkey_text.h"

#include <gtest/gtest.h>

#include "base/sha256.h"

namespace arkvale::tools {
namespace {

struct Published {
  int64_t length_tokens;
  int32_t index;
  int64_t key;
  const char* hash;
};

// Evaluation protocol, section 10: 2000 characters of filler.
TEST(PasskeyText, MatchesPublishedHashes) {
  for (const Published& p : {Published{1024, 0, 49436, "564054b6370814b6"},
                             {4096, 7, 36133, "da81d4ca26759d94"},
                             {8000, 19, 42933, "da1b567e2e3ddc8a"}}) {
    EXPECT_EQ(PasskeyKey(42, p.length_tokens, p.index), p.key);
    const std::string context = PasskeyContext(p.key, p.index, 2000);
    EXPECT_EQ(context.size(), 2209u);
    EXPECT_EQ(Sha256Hex(context + std::string(PasskeyQuestion())).substr(0, 16), p.hash);
  }
  EXPECT_EQ(PasskeyQuestion().size(), 38u);
  EXPECT_NE(PasskeyKey(43, 1024, 0), 49436);
}

TEST(PasskeyText, CorrectIsTheFirstRunOfDigits) {
  EXPECT_TRUE(PasskeyCorrect(" 36133. Remember it. 5", 36133));
  EXPECT_TRUE(PasskeyCorrect("036133", 36133));
  EXPECT_FALSE(PasskeyCorrect(" 3613", 36133));
  EXPECT_FALSE(PasskeyCorrect(" 361333", 36133));
  EXPECT_FALSE(PasskeyCorrect(" 1 36133", 36133));
  EXPECT_FALSE(PasskeyCorrect(" the key", 36133));
  EXPECT_FALSE(PasskeyCorrect("", 36133));
  EXPECT_FALSE(PasskeyCorrect("99999999999999999999999999", 36133)) << "beyond 64 bits";
}

TEST(PasskeyText, StrictComparesIds) {
  const std::vector<int32_t> answer = {5, 6};
  EXPECT_TRUE(PasskeyStrict(std::vector<int32_t>{5, 6, 9}, answer));
  EXPECT_FALSE(PasskeyStrict(std::vector<int32_t>{5}, answer));
  EXPECT_FALSE(PasskeyStrict(std::vector<int32_t>{4, 5, 6}, answer));
  EXPECT_FALSE(PasskeyStrict(std::vector<int32_t>{5}, {}));
}

}  // namespace
}  // namespace arkvale::tools
