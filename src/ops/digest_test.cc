#include "ops/digest.h"

#include <algorithm>

#include "ops/attention_test_util.h"
#include "ops/reference_attention.h"

namespace arkvale {
namespace {

using test::Machine;

constexpr DigestKind kAll[] = {DigestKind::kCentroid,   DigestKind::kSphereMax, DigestKind::kSphereCenter,
                               DigestKind::kSphereMean, DigestKind::kCuboidMax, DigestKind::kCuboidCenter,
                               DigestKind::kCuboidMean};

// f32 values in memory of `dtype`, and back.
struct Stored {
  Stored(DType type, const std::vector<float>& values) : dtype(type), f32(values) {
    for (const float x : values) f16.push_back(F32ToF16(x));
  }
  Stored(DType type, int64_t n) : Stored(type, std::vector<float>(n, NAN)) {}
  void* data() { return dtype == DType::kF16 ? static_cast<void*>(f16.data()) : f32.data(); }
  float at(int64_t i) const { return dtype == DType::kF16 ? F16ToF32(f16[i]) : f32[i]; }
  std::vector<float> Floats() const {
    std::vector<float> v;
    for (size_t i = 0; i < f32.size(); ++i) v.push_back(at(static_cast<int64_t>(i)));
    return v;
  }
  DType dtype;
  std::vector<float> f32;
  std::vector<f16_t> f16;
};

// Digests of consecutive pages of `p` keys.
Stored Build(const OpContext& ctx, DigestKind kind, DType digest_dtype, Stored& keys, int32_t p, int32_t d) {
  const int64_t n_pages = static_cast<int64_t>(keys.f32.size()) / (p * d), length = DigestLength(kind, d);
  Stored out(digest_dtype, n_pages * length);
  std::vector<DigestBuildItem> items;
  for (int64_t i = 0; i < n_pages; ++i) {
    items.push_back({static_cast<std::byte*>(keys.data()) + i * p * d * DTypeBytes(keys.dtype),
                     static_cast<std::byte*>(out.data()) + i * length * DTypeBytes(digest_dtype)});
  }
  const Status status = DigestBuild(ctx, {kind, keys.dtype, digest_dtype, p, d, items});
  EXPECT_TRUE(status.ok()) << status.ToString();
  return out;
}

std::vector<float> Score(const OpContext& ctx, DigestKind kind, Stored& digests, const std::vector<float>& q, int32_t d,
                         bool sum_heads) {
  const auto heads = static_cast<int32_t>(q.size() / d);
  const int64_t n_pages = static_cast<int64_t>(digests.f32.size()) / DigestLength(kind, d);
  std::vector<float> scores(n_pages * (sum_heads ? 1 : heads), NAN);
  const DigestScoreItem items[] = {{digests.data(), n_pages, q.data(), scores.data()}};
  const Status status = DigestScore(ctx, {kind, digests.dtype, d, heads, sum_heads, items});
  EXPECT_TRUE(status.ok()) << status.ToString();
  return scores;
}

// algorithms.md 10.1.
TEST(Digest, WorkedExample) {
  struct Row {
    DigestKind kind;
    std::vector<float> digest;
    std::vector<float> scores;
    double second_page;
  };
  const double sphere = 17 + 5 * std::sqrt(2.0);
  const Row rows[] = {
      {DigestKind::kCentroid, {1.25f, 1.5f}, {-2.25f, 7.5f, -0.5f}, 17},
      {DigestKind::kSphereMax, {1, 1, 5}, {24, 30, 24}, sphere},
      {DigestKind::kSphereCenter, {1, 1, 3}, {14, 20, 14}, sphere},
      {DigestKind::kSphereMean, {1, 1, 3.25f}, {15.25f, 21.25f, 15.25f}, sphere},
      {DigestKind::kCuboidMax, {5, 4, -3, -2}, {23, 20, 24}, 24},
      {DigestKind::kCuboidCenter, {3, 2.5f, -1, -0.5f}, {11, 12.5f, 11.5f}, 24},
      {DigestKind::kCuboidMean, {3.25f, 3, -1.25f, -1}, {13.75f, 15, 14}, 24},
  };
  Machine machine(2);
  test::ForEachTarget([&] {
    for (const DType dtype : {DType::kF16, DType::kF32}) {
      Stored keys(dtype, {5, 4, -3, -2, 1, 3, 2, 1, 2, -1, 4, -1, 2, -3, 4, -3});
      for (const Row& row : rows) {
        SCOPED_TRACE(DigestName(row.kind));
        Stored digests = Build(machine.ctx, row.kind, dtype, keys, 4, 2);
        const std::vector<float> got = digests.Floats();
        EXPECT_EQ(std::vector<float>(got.begin(), got.begin() + static_cast<int64_t>(row.digest.size())), row.digest);
        const auto scores = Score(machine.ctx, row.kind, digests, {3, -4, 0, 5, -4, 3}, 2, false);
        for (int h = 0; h < 3; ++h) EXPECT_EQ(scores[2 * h], row.scores[h]);
        EXPECT_NEAR(scores[1], row.second_page, dtype == DType::kF16 ? 5e-3 : 2e-6);
      }
      Stored digests = Build(machine.ctx, DigestKind::kCuboidMean, dtype, keys, 4, 2);
      EXPECT_EQ(Score(machine.ctx, DigestKind::kCuboidMean, digests, {3, -4, -4, 3}, 2, true)[0] / 2, 13.875f);
    }
  });
}

double Norm(const std::vector<double>& v) {
  double squares = 0;
  for (const double x : v) squares += x * x;
  return std::sqrt(squares);
}

struct Shape {
  int32_t p, d, heads;
};
constexpr Shape kShapes[] = {{1, 64, 3}, {8, 64, 1}, {16, 40, 4}, {32, 80, 8}, {64, 256, 4}, {3, 5, 2}, {7, 128, 7}};

TEST(Digest, MatchesReference) {
  Machine machine(2);
  test::ForEachTarget([&] {
    for (const auto [p, d, heads] : kShapes) {
      for (const DType dtype : {DType::kF16, DType::kF32}) {
        for (const DigestKind kind : kAll) {
          SCOPED_TRACE(testing::Message() << DigestName(kind) << " p " << p << " d " << d << " " << DTypeName(dtype));
          constexpr int kPages = 13;
          Rng rng(uint64_t{17});
          Stored keys(dtype, test::RandomVector(rng, int64_t{kPages} * p * d, 3.0f));
          const std::vector<float> q = test::RandomVector(rng, int64_t{heads} * d, 2.0f);
          Stored digests = Build(machine.ctx, kind, dtype, keys, p, d);
          const auto scores = Score(machine.ctx, kind, digests, q, d, false);
          const auto sums = Score(machine.ctx, kind, digests, q, d, true);
          const int64_t length = DigestLength(kind, d);
          // A digest value is within one rounding of the double one; r of a sphere reaches 3 sqrt(d).
          const double unit = dtype == DType::kF16 ? 0x1p-11 : 0x1p-22;
          for (int page = 0; page < kPages; ++page) {
            std::vector<double> page_keys, digest;
            for (int64_t i = 0; i < int64_t{p} * d; ++i) page_keys.push_back(keys.at(int64_t{page} * p * d + i));
            const auto want = reference::BuildDigest(kind, page_keys, p, d);
            for (int64_t i = 0; i < length; ++i) {
              digest.push_back(digests.at(page * length + i));
              ASSERT_NEAR(digest[i], want[i], unit * 1.01 * (std::abs(want[i]) + (dtype == DType::kF16 ? 1e-3 : 8)));
            }
            double sum = 0, sum_error = 0;
            for (int h = 0; h < heads; ++h) {
              // Roundings of a sum of `length` products, whose absolute values add up to |q| |digest| at most.
              const double error =
                  0x1p-23 * (4 + std::sqrt(length)) * Norm({q.begin() + h * d, q.begin() + (h + 1) * d}) * Norm(digest);
              sum_error += error;
              const double score = reference::ScoreDigest(kind, digest, {q.begin() + h * d, q.begin() + (h + 1) * d});
              sum += score;
              ASSERT_NEAR(scores[h * kPages + page], score, error);
            }
            ASSERT_NEAR(sums[page], sum, 2 * sum_error);
          }
        }
      }
    }
  });
}

TEST(Digest, Bounds) {
  Machine machine(1);
  for (const auto [p, d, heads] : kShapes) {
    SCOPED_TRACE(testing::Message() << "p " << p << " d " << d);
    constexpr int kPages = 50;
    Rng rng(uint64_t{23});
    Stored keys(DType::kF16, test::RandomVector(rng, int64_t{kPages} * p * d, 3.0f));
    const std::vector<float> q = test::RandomVector(rng, int64_t{heads} * d, 2.0f);
    const float slack = 1e-5f * static_cast<float>(d);  // f32 sums of d products of at most 6
    for (const DigestKind kind : kAll) {
      SCOPED_TRACE(DigestName(kind));
      Stored digests = Build(machine.ctx, kind, DType::kF32, keys, p, d);
      const auto scores = Score(machine.ctx, kind, digests, q, d, false);
      for (int page = 0; page < kPages; ++page) {
        for (int h = 0; h < heads; ++h) {
          double best = -std::numeric_limits<double>::infinity();
          for (int i = 0; i < p; ++i) {
            double dot = 0;
            for (int t = 0; t < d; ++t) dot += double{q[h * d + t]} * keys.at((int64_t{page} * p + i) * d + t);
            best = std::max(best, dot);
          }
          const float score = scores[h * kPages + page];
          if (kind == DigestKind::kCuboidMax || kind == DigestKind::kSphereMax) {
            EXPECT_GE(score, best - slack);
          }
          if (kind == DigestKind::kCentroid) {
            EXPECT_LE(score, best + slack);
          }
          if (p == 1) {
            EXPECT_NEAR(score, best, slack);
          }
        }
      }
    }
  }
}

TEST(Digest, BitsDoNotDependOnThreadsOrNumberOfPages) {
  Machine one(1), two(2);
  Rng rng(uint64_t{29});
  constexpr int32_t kDim = 64;
  for (const DigestKind kind : kAll) {
    SCOPED_TRACE(DigestName(kind));
    Stored keys(DType::kF16, test::RandomVector(rng, int64_t{1501} * 8 * kDim, 3.0f));
    const std::vector<float> q = test::RandomVector(rng, 3 * kDim, 2.0f);
    Stored a = Build(one.ctx, kind, DType::kF16, keys, 8, kDim), b = Build(two.ctx, kind, DType::kF16, keys, 8, kDim);
    EXPECT_EQ(a.f16, b.f16);
    const auto scores = Score(one.ctx, kind, a, q, kDim, false);
    EXPECT_TRUE(test::SameBits(scores, Score(two.ctx, kind, a, q, kDim, false)));
    Stored few(DType::kF16, 0);
    few.f16.assign(a.f16.begin(), a.f16.begin() + 5 * DigestLength(kind, kDim));
    few.f32.resize(few.f16.size());
    const auto head = Score(two.ctx, kind, few, q, kDim, false);
    EXPECT_TRUE(std::equal(head.begin(), head.begin() + 5, scores.begin()));
  }
}

TEST(Digest, ItemsOfDifferentLengthsAndNone) {
  Machine machine(2);
  Rng rng(uint64_t{31});
  const std::vector<float> q = test::RandomVector(rng, 64, 2.0f);
  Stored long_one(DType::kF32, test::RandomVector(rng, 1200 * 64, 1.0f));
  Stored short_one(DType::kF32, test::RandomVector(rng, 3 * 64, 1.0f));
  std::vector<float> a(1200), b(3);
  const DigestScoreItem items[] = {{short_one.data(), 3, q.data(), b.data()},
                                   {nullptr, 0, nullptr, nullptr},
                                   {long_one.data(), 1200, q.data(), a.data()}};
  ASSERT_TRUE(DigestScore(machine.ctx, {DigestKind::kCentroid, DType::kF32, 64, 1, false, items}).ok());
  EXPECT_EQ(a, Score(machine.ctx, DigestKind::kCentroid, long_one, q, 64, false));
  EXPECT_EQ(b, Score(machine.ctx, DigestKind::kCentroid, short_one, q, 64, false));
  EXPECT_TRUE(DigestScore(machine.ctx, {DigestKind::kCentroid, DType::kF32, 64, 1, false, {}}).ok());
}

TEST(Digest, RefusesBadArguments) {
  Machine machine(1);
  const DigestBuildItem item[] = {{nullptr, nullptr}};
  EXPECT_EQ(DigestBuild(machine.ctx, {.head_dim = 8, .items = item}).message(),
            "digest_build: item 0: null keys or out");
  EXPECT_EQ(DigestBuild(machine.ctx, {.digest_dtype = DType::kI32, .head_dim = 8, .items = {}}).message(),
            "digest_build: i32 not supported: f16 or f32");
  EXPECT_EQ(DigestBuild(machine.ctx, {.page_tokens = 0, .head_dim = 8, .items = {}}).kind(),
            StatusKind::kInvalidArgument);
  EXPECT_EQ(DigestBuild(machine.ctx, {}).message(), "digest_build: head dim 0 < 1");
  const DigestScoreItem score[] = {{nullptr, 1, nullptr, nullptr}};
  EXPECT_EQ(DigestScore(machine.ctx, {.head_dim = 8, .items = score}).message(),
            "digest_score: item 0: null digests, q or scores");
  EXPECT_EQ(DigestScore(machine.ctx, {.head_dim = 8, .n_q_heads = 0, .items = {}}).message(),
            "digest_score: 0 query heads, must be >= 1");
}

}  // namespace
}  // namespace arkvale
