#include <algorithm>

#include "ops/digest_cases_test_util.h"
#include "ops/digest_test_util.h"
#include "ops/reference_digest.h"

namespace arkvale {
namespace {

using test::CodeScoreError;
using test::Digests;
using test::Machine;
using test::Query;
using test::Stored;

// One page of eight keys. Dimension 0: m = 0, M = 8; dimension 1: m = -8, M = 8; the others are 1 and have no width.
TEST(CodeDigest, WorkedExample) {
  const float dim0[] = {0, 1, 2, 3, 4, 5, 6, 8};
  const float dim1[] = {8, -8, 0, 4, -4, 2, -2, 6};
  std::vector<float> values(64, 1.0f);
  for (int i = 0; i < 8; ++i) {
    values[i * 8] = dim0[i];
    values[i * 8 + 1] = dim1[i];
  }
  const std::vector<float> q = {2, -1, 0.5f, 0, 0, 0, 0, 0, -1, 3, 0, 0, 0, 0, 0, 0};
  Machine machine(1);
  test::ForEachTarget([&] {
    for (const DType dtype : {DType::kF16, DType::kF32}) {
      const Stored keys(dtype, values);
      const Digests one(machine.ctx, {DigestKind::kCode1, DigestType::kF16, 8, 8}, keys);
      EXPECT_EQ(one.Values(0), (std::vector<double>{4, 0, 1, 1, 1, 1, 1, 1, 2.125, 4.25, 0, 0, 0, 0, 0, 0}));
      const Digests two(machine.ctx, {DigestKind::kCode2, DigestType::kF16, 8, 8}, keys);
      EXPECT_EQ(two.Values(0), (std::vector<double>{0, -8, 1, 1, 1, 1, 1, 1, 2, 4, 0, 0, 0, 0, 0, 0}));
      const int code1[2][8] = {{0, 0, 0, 0, 1, 1, 1, 1}, {1, 0, 1, 1, 0, 1, 0, 1}};
      const int code2[2][8] = {{0, 0, 1, 1, 2, 2, 3, 3}, {3, 0, 2, 3, 1, 2, 1, 3}};
      for (int i = 0; i < 8; ++i) {
        for (int t = 0; t < 8; ++t) {
          if (t < 2) {
            EXPECT_EQ(one.Codes(0)[i * 8 + t], code1[t][i]) << i << " " << t;
          }
          EXPECT_EQ(two.Codes(0)[i * 8 + t], t < 2 ? code2[t][i] : 0) << i << " " << t;
        }
      }
      const double error = 1e-3;
      EXPECT_NEAR(one.Score(machine.ctx, q)[0], 17, error);      // true 14.5
      EXPECT_NEAR(one.Score(machine.ctx, q)[1], 10.875, error);  // true 24
      EXPECT_NEAR(two.Score(machine.ctx, q)[0], 16.5, error);
      EXPECT_NEAR(two.Score(machine.ctx, q)[1], 17, error);
    }
  });
}

// Keys with a few dimensions far larger than the others, as after RoPE.
std::vector<float> KeysWithOutliers(Rng& rng, int64_t n, int32_t d) {
  std::vector<float> keys = test::RandomVector(rng, n, 1.0f);
  for (int64_t i = 0; i < n; ++i) {
    if (i % d % 13 == 5) keys[i] = 20 * keys[i] + 30;
    if (i % d % 17 == 3) keys[i] = 0.25f;  // a box without width
  }
  return keys;
}

TEST(CodeDigest, MatchesReference) {
  Machine machine(2);
  test::ForEachTarget([&] {
    for (const auto [p, d, heads] : test::kCodeShapes) {
      for (const DigestType type : test::kDigestTypes) {
        for (const DigestKind kind : test::kCodeKinds) {
          const test::DigestShape shape{kind, type, p, d};
          SCOPED_TRACE(test::Describe(shape));
          constexpr int kPages = 5;
          Rng rng(uint64_t{41});
          const Stored keys(type == DigestType::kF32 ? DType::kF32 : DType::kF16,
                            KeysWithOutliers(rng, int64_t{kPages} * p * d, d));
          const std::vector<float> q = test::RandomVector(rng, int64_t{heads} * d, 4.0f);
          const Digests digests(machine.ctx, shape, keys);
          const auto scores = digests.Score(machine.ctx, q);
          for (int page = 0; page < kPages; ++page) {
            const auto page_keys = keys.Slice(int64_t{page} * p * d, int64_t{p} * d);
            const auto want = reference::BuildDigest(kind, page_keys, p, d);
            const auto vectors = digests.Values(page);
            double largest[2] = {0, 0};
            for (int i = 0; i < 2 * d; ++i) largest[i / d] = std::max(largest[i / d], std::abs(want[i]));
            for (int i = 0; i < 2 * d; ++i) {
              double error = 0x1p-22 * (std::abs(want[i]) + 64);
              if (type == DigestType::kF16) error = 0x1p-11 * 1.01 * (std::abs(want[i]) + 1e-3);
              if (type == DigestType::kQ8) error = 0.5 * 1.002 * largest[i / d] / 127;
              ASSERT_NEAR(vectors[i], want[i], error) << i;
            }
            const auto codes = digests.Codes(page), exact = reference::BuildCodes(kind, vectors, page_keys, d);
            for (size_t i = 0; i < codes.size(); ++i) {
              if (codes[i] == exact[i]) continue;
              // Only a key on an edge, where f32 may round the other way.
              const double first = vectors[i % d], width = vectors[d + i % d];
              const double edge = kind == DigestKind::kCode1 ? first : first + width * std::max(codes[i], exact[i]);
              ASSERT_NEAR(page_keys[i], edge, 0x1p-22 * (std::abs(first) + 4 * width)) << i;
              ASSERT_EQ(std::abs(codes[i] - exact[i]), 1) << i;
            }
            for (int h = 0; h < heads; ++h) {
              const auto query = Query(q, h, d);
              ASSERT_NEAR(scores[h * kPages + page], reference::ScoreCodes(kind, vectors, codes, query),
                          CodeScoreError(digests, page, query));
            }
          }
        }
      }
    }
  });
}

// A key rebuilt at its cell's centre is within half a cell of the key, but for the rounding of the box.
TEST(CodeDigest, Code2RebuildsKeysWithinHalfACell) {
  Machine machine(1);
  for (const auto [p, d, heads] : test::kCodeShapes) {
    for (const DigestType type : test::kDigestTypes) {
      const test::DigestShape shape{DigestKind::kCode2, type, p, d};
      SCOPED_TRACE(test::Describe(shape));
      Rng rng(uint64_t{43});
      const Stored keys(DType::kF16, KeysWithOutliers(rng, int64_t{p} * d, d));
      const Digests digests(machine.ctx, shape, keys);
      const auto vectors = digests.Values(0), exact = reference::BuildDigest(shape.kind, keys.Slice(0, p * d), p, d);
      const auto codes = digests.Codes(0);
      for (int64_t i = 0; i < int64_t{p} * d; ++i) {
        const double m = vectors[i % d], w = vectors[d + i % d];
        const double rounding = std::abs(m - exact[i % d]) + 4 * std::abs(w - exact[d + i % d]);
        ASSERT_NEAR(m + (codes[i] + 0.5) * w, keys.at(i), w / 2 + rounding + 1e-6 * std::abs(m)) << i;
      }
    }
  }
}

TEST(CodeDigest, BitsDoNotDependOnThreadsHeadsOrOtherPages) {
  Machine one(1), two(2);
  const std::vector<int32_t> some = {0, 1, 2, 7, 63, 64, 65, 200};
  test::ForEachTarget([&] {
    for (const DigestType type : test::kDigestTypes) {
      for (const DigestKind kind : test::kCodeKinds) {
        const test::DigestShape shape{kind, type, 8, 64};
        SCOPED_TRACE(test::Describe(shape));
        Rng rng(uint64_t{47});
        const Stored keys(DType::kF16, KeysWithOutliers(rng, int64_t{201} * 8 * 64, 64));
        const std::vector<float> q = test::RandomVector(rng, 5 * 64, 2.0f);
        const Digests a(one.ctx, shape, keys), b(two.ctx, shape, keys);
        EXPECT_EQ(a.vectors, b.vectors);
        EXPECT_EQ(a.planes[0], b.planes[0]);
        EXPECT_EQ(a.planes[1], b.planes[1]);
        const auto scores = a.Score(one.ctx, q);
        EXPECT_TRUE(test::SameBits(scores, a.Score(two.ctx, q)));
        for (int h = 0; h < 5; ++h) {
          const auto alone = a.Score(one.ctx, {q.begin() + h * 64, q.begin() + (h + 1) * 64});
          EXPECT_TRUE(test::SameBits(alone, {scores.begin() + h * 201, scores.begin() + (h + 1) * 201}));
        }
        const auto few = a.Score(two.ctx, q, {.pages = some});
        for (size_t i = 0; i < few.size(); ++i) {
          const bool asked = std::binary_search(some.begin(), some.end(), static_cast<int32_t>(i % 201));
          ASSERT_EQ(few[i], asked ? scores[i] : 7.0f) << i;
        }
      }
    }
  });
}

// Every key's score within the bound; the largest is its page's to the bit, and nothing else changes.
TEST(CodeDigest, ScoresOfKeys) {
  Machine machine(2);
  std::vector<int32_t> some;  // more than are copied side by side at a time
  for (int32_t page = 0; page < 70; ++page) {
    if (page % 9 != 0) some.push_back(page);
  }
  test::ForEachTarget([&] {
    for (const auto [p, d, heads] : test::kCodeShapes) {
      for (const DigestType type : test::kDigestTypes) {
        const test::DigestShape shape{DigestKind::kCode2, type, p, d};
        SCOPED_TRACE(test::Describe(shape));
        constexpr int64_t kPages = 70;
        Rng rng(uint64_t{53});
        const Stored keys(DType::kF16, KeysWithOutliers(rng, kPages * p * d, d));
        const std::vector<float> q = test::RandomVector(rng, int64_t{heads} * d, 4.0f);
        const Digests digests(machine.ctx, shape, keys);
        const auto want = digests.Score(machine.ctx, q);
        for (const bool listed : {false, true}) {
          const int64_t n = listed ? std::ssize(some) : kPages;
          std::vector<float> scores(heads * n), key_scores(heads * n * p + 1, 7.0f);
          DigestScoreItem items[] = {digests.Item(q, scores.data())};
          if (listed) items[0].pages = some;
          items[0].key_scores = key_scores.data();
          ASSERT_TRUE(DigestScore(machine.ctx, digests.Args(heads, items)).ok());
          ASSERT_EQ(key_scores.back(), 7.0f) << "written past the end";
          for (int64_t i = 0; i < heads * n; ++i) {
            const int64_t h = i / n, page = listed ? some[i % n] : i % n;
            const auto first = key_scores.begin() + i * p;
            ASSERT_EQ(scores[i], want[h * kPages + page]) << i;
            ASSERT_EQ(*std::max_element(first, first + p), scores[i]) << i;
            if (page % 9 != 1) continue;
            const auto vectors = digests.Values(page);
            const auto codes = digests.Codes(page);
            const auto query = Query(q, h, d);
            for (int64_t key = 0; key < p; ++key) {
              const std::vector<int> one(codes.begin() + key * d, codes.begin() + (key + 1) * d);
              ASSERT_NEAR(first[key], reference::ScoreCodes(shape.kind, vectors, one, query),
                          CodeScoreError(digests, page, query));
            }
          }
        }
      }
    }
  });
}

TEST(CodeDigest, OnlyCode2HasScoresOfKeys) {
  Machine machine(1);
  const Digests digests(machine.ctx, {DigestKind::kCode1, DigestType::kF16, 8, 8},
                        Stored(DType::kF16, std::vector<float>(64, 1.0f)));
  const std::vector<float> q(8, 1.0f);
  float score, key_scores[8];
  DigestScoreItem items[] = {digests.Item(q, &score)};
  items[0].key_scores = key_scores;
  const Status status = DigestScore(machine.ctx, digests.Args(1, items));
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
  EXPECT_EQ(status.message(), "digest_score: item 0: scores of keys, which code1 has not");
}

// The largest sums that integers must hold: every key in the best corner, every dimension as large as the others.
TEST(CodeDigest, EqualDimensionsDoNotOverflow) {
  Machine machine(1);
  test::ForEachTarget([&] {
    for (const int32_t d : {8, 64, 128, 200, 256}) {
      std::vector<float> values(int64_t{8} * d);
      for (size_t i = 0; i < values.size(); ++i) values[i] = (i / d == 3 ? 1.0f : -1.0f) * (i % 2 == 0 ? 1 : -1);
      std::vector<float> q(d);
      for (int32_t t = 0; t < d; ++t) q[t] = t % 2 == 0 ? 100.0f : -100.0f;
      for (const DigestKind kind : test::kCodeKinds) {
        const Digests digests(machine.ctx, {kind, DigestType::kF32, 8, d}, Stored(DType::kF32, values));
        // code1: 100 per dimension; code2: the centre of the last quarter, 0.75.
        const double want = (kind == DigestKind::kCode1 ? 100.0 : 75.0) * d;
        // Every b is rounded the same way, by up to half of |q| |w| / 31000 = want / 31000.
        EXPECT_NEAR(digests.Score(machine.ctx, q)[0], want, want * d / 31000) << d;
      }
    }
  });
}

TEST(CodeDigest, ZeroQueryAndConstantPages) {
  Machine machine(1);
  test::ForEachTarget([&] {
    for (const DigestType type : test::kDigestTypes) {
      for (const DigestKind kind : test::kCodeKinds) {
        SCOPED_TRACE(test::Describe({kind, type, 8, 16}));
        const Digests zeros(machine.ctx, {kind, type, 8, 16}, Stored(DType::kF16, std::vector<float>(128, 0.0f)));
        const Digests twos(machine.ctx, {kind, type, 8, 16}, Stored(DType::kF16, std::vector<float>(128, 2.0f)));
        EXPECT_EQ(zeros.Score(machine.ctx, std::vector<float>(16, 3.0f))[0], 0.0f);
        EXPECT_EQ(twos.Score(machine.ctx, std::vector<float>(16, 0.0f))[0], 0.0f);
        EXPECT_NEAR(twos.Score(machine.ctx, std::vector<float>(16, 3.0f))[0], 96.0f, 0.1f);
      }
    }
  });
}

}  // namespace
}  // namespace arkvale
