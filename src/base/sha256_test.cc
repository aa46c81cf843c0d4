#include "base/sha256.h"

#include <gtest/gtest.h>

#include <fstream>

namespace arkvale {
namespace {

// FIPS 180-4 examples, and lengths on both sides of the padding's block border.
TEST(Sha256, MatchesPublishedDigests) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256Hex(std::string(55, 'a')), "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
  EXPECT_EQ(Sha256Hex(std::string(64, 'a')), "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
}

TEST(Sha256, PiecesAndFilesGiveTheSame) {
  const std::string text(1000, 'x');
  Sha256 pieces;
  for (size_t at = 0; at < text.size(); at += 37) pieces.Update(std::string_view(text).substr(at, 37));
  EXPECT_EQ(pieces.HexDigest(), Sha256Hex(text));
  const std::string path = ::testing::TempDir() + "sha256_test.txt";
  std::ofstream(path) << text;
  EXPECT_EQ(*FileSha256Hex(path), Sha256Hex(text));
  EXPECT_EQ(FileSha256Hex("/nowhere/x").status().kind(), StatusKind::kNotFound);
}

}  // namespace
}  // namespace arkvale
