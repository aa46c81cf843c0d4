#include "model/fingerprint.h"

#include <gtest/gtest.h>

#include <set>
#include <span>

#include "model/gguf_test_util.h"

namespace arkvale {
namespace {

using testing::GgufWriter;

std::string OfBytes(const std::string& bytes, const std::string& name = "x.gguf") {
  const auto view = GgufView::Parse(std::as_bytes(std::span(bytes)), name);
  EXPECT_TRUE(view.ok()) << view.status().message();
  return Fingerprint(*view);
}

std::string Of(const GgufWriter& file) { return OfBytes(file.Build()); }

GgufWriter SmallFile() {
  GgufWriter file;
  file.Str("general.name", "small");
  file.U32("a", 1);
  file.Array<int32_t>("b", GgufType::kI32, {1, 2});
  file.tensors.push_back({"t", {8, 2}, 0, std::string(64, 'x'), std::nullopt});
  file.tensors.push_back({"u", {4}, 0, std::string(16, 'y'), std::nullopt});
  return file;
}

TEST(Fingerprint, IsThatOfThePlansInUse) {
  // A change makes every plan and session that exists one of another model.
  EXPECT_EQ(Of(SmallFile()), "6f0760b7fe43f128ec170f3874996dfc");
}

TEST(Fingerprint, DependsOnNeitherNameNorWeights) {
  const std::string bytes = SmallFile().Build(), same = Of(SmallFile());
  EXPECT_EQ(OfBytes(bytes, "another name"), same);
  GgufWriter other = SmallFile();
  other.tensors[0].data = std::string(64, 'z');
  EXPECT_EQ(Of(other), same);
}

TEST(Fingerprint, DiffersWithEveryField) {
  std::set<std::string> seen = {Of(SmallFile())};
  const auto changed = [&](const auto& change) {
    GgufWriter file = SmallFile();
    change(file);
    return seen.insert(Of(file)).second;
  };
  EXPECT_TRUE(changed([](GgufWriter& f) { f.U32("a", 2); }));
  EXPECT_TRUE(changed([](GgufWriter& f) { f.I32("a", 1); })) << "same bytes, another type";
  EXPECT_TRUE(changed([](GgufWriter& f) { f.Array<uint32_t>("b", GgufType::kU32, {1, 2}); }));
  EXPECT_TRUE(changed([](GgufWriter& f) { f.Str("general.name", "smalL"); }));
  EXPECT_TRUE(changed([](GgufWriter& f) { f.Remove("a"), f.U32("c", 1); })) << "another key and another order";
  EXPECT_TRUE(changed([](GgufWriter& f) { f.Remove("a"); }));
  EXPECT_TRUE(changed([](GgufWriter& f) { f.tensors[0].dims = {16}; })) << "same bytes, another shape";
  EXPECT_TRUE(changed([](GgufWriter& f) { f.tensors[0].dims = {4, 4}; }));
  EXPECT_TRUE(changed([](GgufWriter& f) { f.tensors[0].name = "v"; }));
  EXPECT_TRUE(changed([](GgufWriter& f) { f.tensors[1].type = 26; })) << "i32 instead of f32";
  EXPECT_TRUE(changed([](GgufWriter& f) { std::swap(f.tensors[0], f.tensors[1]); }));
}

TEST(Fingerprint, DiffersWithTheSizeAlone) {
  const std::string bytes = SmallFile().Build();
  EXPECT_NE(OfBytes(bytes + std::string(32, '\0')), OfBytes(bytes));
}

TEST(Fingerprint, TakesInAllParts) {
  const auto parts = testing::Split(SmallFile(), 2);
  const std::string first = parts[0].Build(), second = parts[1].Build();
  auto view = GgufView::Parse(std::as_bytes(std::span(first)), "1");
  const auto part = GgufView::Parse(std::as_bytes(std::span(second)), "2");
  ASSERT_TRUE(view.ok() && part.ok());
  const std::string alone = Fingerprint(*view);
  ASSERT_TRUE(view->AddTensorsOf(*part).ok());
  EXPECT_NE(Fingerprint(*view), alone);
}

}  // namespace
}  // namespace arkvale
