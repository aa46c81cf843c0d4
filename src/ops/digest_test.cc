#include "ops/digest.h"

#include <algorithm>
#include <atomic>
#include <functional>

#include "ops/digest_cases_test_util.h"
#include "ops/digest_test_util.h"
#include "ops/reference_digest.h"

namespace arkvale {
namespace {

using test::Digests;
using test::Machine;
using test::Norm;
using test::Query;
using test::Stored;

constexpr DigestType kFloatTypes[] = {DigestType::kF16, DigestType::kF32};

// algorithms.md 10.1.
TEST(Digest, WorkedExample) {
  struct Row {
    DigestKind kind;
    std::vector<double> digest;
    std::vector<float> scores;
    double second_page;
  };
  const double sphere = 17 + 5 * std::sqrt(2.0);
  const Row rows[] = {
      {DigestKind::kCentroid, {1.25, 1.5}, {-2.25f, 7.5f, -0.5f}, 17},
      {DigestKind::kSphereMax, {1, 1, 5}, {24, 30, 24}, sphere},
      {DigestKind::kSphereCenter, {1, 1, 3}, {14, 20, 14}, sphere},
      {DigestKind::kSphereMean, {1, 1, 3.25}, {15.25f, 21.25f, 15.25f}, sphere},
      {DigestKind::kCuboidMax, {5, 4, -3, -2}, {23, 20, 24}, 24},
      {DigestKind::kCuboidCenter, {3, 2.5, -1, -0.5}, {11, 12.5f, 11.5f}, 24},
      {DigestKind::kCuboidMean, {3.25, 3, -1.25, -1}, {13.75f, 15, 14}, 24},
  };
  Machine machine(2);
  test::ForEachTarget([&] {
    for (const DigestType type : kFloatTypes) {
      const Stored keys(type == DigestType::kF16 ? DType::kF16 : DType::kF32,
                        {5, 4, -3, -2, 1, 3, 2, 1, 2, -1, 4, -1, 2, -3, 4, -3});
      for (const Row& row : rows) {
        SCOPED_TRACE(DigestName(row.kind));
        const Digests digests(machine.ctx, {row.kind, type, 4, 2}, keys);
        EXPECT_EQ(digests.Values(0), row.digest);
        const auto scores = digests.Score(machine.ctx, {3, -4, 0, 5, -4, 3});
        for (int h = 0; h < 3; ++h) EXPECT_EQ(scores[2 * h], row.scores[h]);
        EXPECT_NEAR(scores[1], row.second_page, type == DigestType::kF16 ? 5e-3 : 2e-6);
      }
      const Digests digests(machine.ctx, {DigestKind::kCuboidMean, type, 4, 2}, keys);
      EXPECT_EQ(digests.Score(machine.ctx, {3, -4, -4, 3}, {.sum_heads = true})[0] / 2, 13.875f);
    }
  });
}

TEST(Digest, LayoutSizes) {
  struct Row {
    DigestKind kind;
    DigestType type;
    int64_t vector_bytes, plane_bytes, bytes;
  };
  const Row rows[] = {
      {DigestKind::kCentroid, DigestType::kF32, 256, 0, 256},   {DigestKind::kCentroid, DigestType::kQ8, 66, 0, 66},
      {DigestKind::kSphereMean, DigestType::kF16, 130, 0, 130}, {DigestKind::kSphereMean, DigestType::kQ8, 68, 0, 68},
      {DigestKind::kCuboidMean, DigestType::kF16, 256, 0, 256}, {DigestKind::kCuboidMean, DigestType::kQ8, 132, 0, 132},
      {DigestKind::kCode1, DigestType::kF16, 256, 256, 512},    {DigestKind::kCode1, DigestType::kQ8, 132, 256, 388},
      {DigestKind::kCode2, DigestType::kF16, 256, 256, 768},    {DigestKind::kCode2, DigestType::kQ8, 132, 256, 644},
  };
  for (const Row& row : rows) {
    const auto layout = MakeDigestLayout(row.kind, row.type, 32, 64);
    ASSERT_TRUE(layout.ok());
    EXPECT_EQ(layout->vector_bytes, row.vector_bytes) << DigestName(row.kind);
    EXPECT_EQ(layout->plane_bytes, row.plane_bytes) << DigestName(row.kind);
    EXPECT_EQ(layout->bytes(), row.bytes) << DigestName(row.kind);
  }
}

// How far a stored vector element may be from the double one: one rounding (the f32 build itself is off by less).
double ValueError(DigestType type, double value, double largest) {
  switch (type) {
    case DigestType::kF16: return 0x1p-11 * 1.01 * (std::abs(value) + 1e-3);
    case DigestType::kF32: return 0x1p-22 * 1.01 * (std::abs(value) + 8);
    case DigestType::kQ8: break;
  }
  return 0.5 * 1.002 * largest / 127;  // half a step, whose scale is rounded up to f16
}

// Elements of q8 cuboids are sums of a centre and a half width: largest of both.
double LargestStored(const test::DigestShape& shape, const std::vector<double>& want) {
  double first = 0, second = 0;
  for (int32_t t = 0; t < shape.d; ++t) {
    const bool cuboid = IsCuboid(shape.kind);
    const double centre = cuboid ? (want[t] + want[shape.d + t]) / 2 : want[t];
    first = std::max(first, std::abs(centre));
    if (cuboid) second = std::max(second, want[t] - centre);
  }
  return first + second;
}

TEST(Digest, MatchesReference) {
  Machine machine(2);
  test::ForEachTarget([&] {
    for (const auto [p, d, heads] : test::kDigestShapes) {
      for (const DigestType type : test::kDigestTypes) {
        for (const DigestKind kind : test::kVectorKinds) {
          const test::DigestShape shape{kind, type, p, d};
          SCOPED_TRACE(test::Describe(shape));
          constexpr int kPages = 13;
          Rng rng(uint64_t{17});
          const Stored keys(type == DigestType::kF32 ? DType::kF32 : DType::kF16,
                            test::RandomVector(rng, int64_t{kPages} * p * d, 3.0f));
          const std::vector<float> q = test::RandomVector(rng, int64_t{heads} * d, 2.0f);
          const Digests digests(machine.ctx, shape, keys);
          const auto scores = digests.Score(machine.ctx, q);
          const auto sums = digests.Score(machine.ctx, q, {.sum_heads = true});
          for (int page = 0; page < kPages; ++page) {
            const auto want = reference::BuildDigest(kind, keys.Slice(int64_t{page} * p * d, int64_t{p} * d), p, d);
            const auto digest = digests.Values(page);
            ASSERT_EQ(digest.size(), want.size());
            for (size_t i = 0; i < want.size(); ++i) {
              const bool radius = IsSphere(kind) && i == static_cast<size_t>(d);  // f16 in q8
              const DigestType as = radius && type == DigestType::kQ8 ? DigestType::kF16 : type;
              ASSERT_NEAR(digest[i], want[i], ValueError(as, want[i], LargestStored(shape, want)));
              if (IsCuboid(kind)) {
                ASSERT_GE(digest[i % d], digest[d + i % d]);
              }
            }
            double sum = 0, sum_error = 0;
            for (int h = 0; h < heads; ++h) {
              // Roundings of a sum of `length` products, whose absolute values add up to |q| |digest| at most.
              const auto query = Query(q, h, d);
              const double error =
                  0x1p-23 * (4 + std::sqrt(static_cast<double>(want.size()))) * Norm(query) * Norm(digest);
              sum_error += error;
              const double score = reference::ScoreDigest(kind, digest, query);
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
  for (const auto [p, d, heads] : test::kDigestShapes) {
    SCOPED_TRACE(testing::Message() << "p " << p << " d " << d);
    constexpr int kPages = 50;
    Rng rng(uint64_t{23});
    const Stored keys(DType::kF16, test::RandomVector(rng, int64_t{kPages} * p * d, 3.0f));
    const std::vector<float> q = test::RandomVector(rng, int64_t{heads} * d, 2.0f);
    const float slack = 1e-5f * static_cast<float>(d);  // f32 sums of d products of at most 6
    for (const DigestKind kind : test::kVectorKinds) {
      SCOPED_TRACE(DigestName(kind));
      const Digests digests(machine.ctx, {kind, DigestType::kF32, p, d}, keys);
      const auto scores = digests.Score(machine.ctx, q);
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

TEST(Digest, BitsDoNotDependOnThreadsOrOtherPages) {
  Machine one(1), two(2);
  Rng rng(uint64_t{29});
  constexpr int32_t kDim = 64;
  const std::vector<int32_t> some = {0, 1, 2, 7, 9, 10, 11, 12, 13, 500, 511, 512, 513, 600, 900};
  for (const DigestType type : test::kDigestTypes) {
    for (const DigestKind kind : test::kVectorKinds) {
      const test::DigestShape shape{kind, type, 8, kDim};
      SCOPED_TRACE(test::Describe(shape));
      const Stored keys(DType::kF16, test::RandomVector(rng, int64_t{901} * 8 * kDim, 3.0f));
      const std::vector<float> q = test::RandomVector(rng, 3 * kDim, 2.0f);
      const Digests a(one.ctx, shape, keys), b(two.ctx, shape, keys);
      EXPECT_EQ(a.vectors, b.vectors);
      const auto scores = a.Score(one.ctx, q);
      EXPECT_TRUE(test::SameBits(scores, a.Score(two.ctx, q)));
      const auto few = a.Score(two.ctx, q, {.pages = some});
      for (size_t i = 0; i < few.size(); ++i) {
        const bool asked = std::binary_search(some.begin(), some.end(), static_cast<int32_t>(i % 901));
        ASSERT_EQ(few[i], asked ? scores[i] : 7.0f) << i;
      }
    }
  }
}

TEST(Digest, ItemsOfDifferentLengthsAndNone) {
  Machine machine(2);
  Rng rng(uint64_t{31});
  const std::vector<float> q = test::RandomVector(rng, 64, 2.0f);
  const test::DigestShape shape{DigestKind::kCentroid, DigestType::kF32, 1, 64};
  const Digests long_one(machine.ctx, shape, Stored(DType::kF32, test::RandomVector(rng, 1200 * 64, 1.0f)));
  const Digests short_one(machine.ctx, shape, Stored(DType::kF32, test::RandomVector(rng, 3 * 64, 1.0f)));
  std::vector<float> a(1200), b(3);
  const DigestScoreItem items[] = {short_one.Item(q, b.data()), {}, long_one.Item(q, a.data())};
  ASSERT_TRUE(DigestScore(machine.ctx, long_one.Args(1, items)).ok());
  EXPECT_EQ(a, long_one.Score(machine.ctx, q));
  EXPECT_EQ(b, short_one.Score(machine.ctx, q));
  EXPECT_TRUE(DigestScore(machine.ctx, long_one.Args(1, {})).ok());
}

TEST(Digest, Q8OfConstantsZerosAndTinyValues) {
  Machine machine(1);
  const std::vector<float> q(8, 1.0f);
  for (const DigestKind kind : test::kVectorKinds) {
    SCOPED_TRACE(DigestName(kind));
    for (const float value : {0.0f, -3.0f, 0x1p-24f, 0x1p-20f, 65504.0f}) {
      const Digests digests(machine.ctx, {kind, DigestType::kQ8, 4, 8},
                            Stored(DType::kF32, std::vector<float>(32, value)));
      // The scale's f16 has 11 bits, fewer below 2^-14 where its step is 2^-24.
      for (int t = 0; t < 8; ++t) EXPECT_NEAR(digests.Values(0)[t], value, std::abs(value) * 0.005 + 0x1p-25);
      EXPECT_NEAR(digests.Score(machine.ctx, q)[0], 8 * value, 8 * (std::abs(value) * 0.005 + 0x1p-25));
    }
  }
}

TEST(Digest, RefusesBadArguments) {
  Machine machine(1);
  const auto build = [&](const DigestBuildArgs& args) { return DigestBuild(machine.ctx, args).message(); };
  const auto score = [&](const DigestScoreArgs& args) { return DigestScore(machine.ctx, args).message(); };
  const DigestBuildItem item[] = {{nullptr, nullptr}};
  EXPECT_EQ(build({.head_dim = 8, .items = item}), "digest_build: item 0: null keys or vectors");
  EXPECT_EQ(build({.key_dtype = DType::kI32, .head_dim = 8, .items = {}}),
            "digest_build: keys of i32: f16, f32, q8_0 or q4_0");
  EXPECT_EQ(build({.page_tokens = 0, .head_dim = 8, .items = {}}), "digest: page of 0 tokens, must be >= 1");
  EXPECT_EQ(build({}), "digest: head dim 0 < 1");
  EXPECT_EQ(build({.type = static_cast<DigestType>(9), .head_dim = 8, .items = {}}), "digest: type 9 unknown");
  EXPECT_EQ(build({.kind = static_cast<DigestKind>(99), .head_dim = 8, .items = {}}), "digest: kind 99 unknown");
  EXPECT_EQ(build({.kind = DigestKind::kCode2, .page_tokens = 12, .head_dim = 8, .items = {}}),
            "digest code2: page of 12 tokens, head dim 8: both must be multiples of 8");
  EXPECT_EQ(build({.kind = DigestKind::kCode1, .page_tokens = 8, .head_dim = 12, .items = {}}),
            "digest code1: page of 8 tokens, head dim 12: both must be multiples of 8");
  float memory[64] = {};
  const DigestBuildItem no_plane[] = {{memory, memory, {memory, nullptr}}};
  EXPECT_EQ(build({.kind = DigestKind::kCode2, .page_tokens = 8, .head_dim = 8, .items = no_plane}),
            "digest_build: item 0: null plane 1");

  const DigestScoreItem null_item[] = {{.n_pages = 1}};
  EXPECT_EQ(score({.head_dim = 8, .items = null_item}), "digest_score: item 0: null vectors, q or scores");
  EXPECT_EQ(score({.head_dim = 8, .n_q_heads = 0, .items = {}}), "digest_score: 0 query heads, must be >= 1");
  EXPECT_EQ(score({.kind = DigestKind::kCode1, .head_dim = 8, .sum_heads = true, .items = {}}),
            "digest_score: code1 scores one query head each");
  DigestScoreItem planes[] = {{.vectors = memory, .n_pages = 2, .q = memory, .scores = memory}};
  EXPECT_EQ(score({.kind = DigestKind::kCode2, .head_dim = 8, .items = planes}), "digest_score: item 0: null plane 0");
  planes[0].planes[0] = memory;
  EXPECT_EQ(score({.kind = DigestKind::kCode2, .head_dim = 8, .items = planes}), "digest_score: item 0: null plane 1");
  const int32_t twice[] = {1, 1}, far[] = {0, 2};
  planes[0].pages = twice;
  EXPECT_EQ(score({.head_dim = 8, .items = planes}),
            "digest_score: item 0: page 1 at place 1 of the pages to score: they must ascend inside 0..1");
  planes[0].pages = far;
  EXPECT_EQ(score({.head_dim = 8, .items = planes}),
            "digest_score: item 0: page 2 at place 1 of the pages to score: they must ascend inside 0..1");
}

TEST(DigestScore, SaysOnceWhenAnItemIsDone) {
  constexpr int32_t kDim = 8, kPage = 8;
  const std::vector<int64_t> sizes = {700, 0, 3, 64, 129};
  std::vector<std::vector<float>> scores;
  std::vector<std::vector<float>> keys;
  for (const int64_t n : sizes) keys.emplace_back(std::max<int64_t>(n, 1) * kPage * kDim, 0.5f);
  for (const int threads : {1, 2, 4}) {
    Machine machine(threads);
    std::vector<Digests> digests;
    std::vector<DigestScoreItem> items;
    const std::vector<float> q(kDim, 1.0f);
    scores.clear();
    for (size_t i = 0; i < sizes.size(); ++i) {
      digests.emplace_back(machine.ctx, test::DigestShape{DigestKind::kCentroid, DigestType::kF32, kPage, kDim},
                           Stored(DType::kF32, keys[i]));
      scores.emplace_back(sizes[i], NAN);
    }
    for (size_t i = 0; i < sizes.size(); ++i) {
      items.push_back(digests[i].Item(q, scores[i].data()));
      items.back().n_pages = sizes[i];
    }
    std::vector<std::atomic<int>> calls(sizes.size());
    std::atomic<int> unwritten = 0;
    const std::function<void(int64_t, int)> done = [&](int64_t item, int thread) {
      ++calls[item];
      if (thread < 0 || thread >= threads) ++unwritten;
      for (const float x : scores[item]) unwritten += x == 4.0f ? 0 : 1;
    };
    DigestScoreArgs args = digests[0].Args(1, items);
    args.item_done = &done;
    EXPECT_TRUE(DigestScore(machine.ctx, args).ok());
    for (const auto& n : calls) EXPECT_EQ(n, 1) << threads;
    EXPECT_EQ(unwritten, 0);
  }
}

}  // namespace
}  // namespace arkvale
