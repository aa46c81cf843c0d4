// Scores of 8-bit digests: integer sums with a query of 28 bits (q8_kernels_inl.h).
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "ops/digest.h"
#include "ops/digest_test_util.h"
#include "ops/reference_digest.h"

namespace arkvale {
namespace {

using test::Digests;
using test::Machine;
using test::Norm;
using test::Query;
using test::Stored;

constexpr DigestKind kAll[] = {DigestKind::kCentroid,   DigestKind::kSphereMax, DigestKind::kSphereCenter,
                               DigestKind::kSphereMean, DigestKind::kCuboidMax, DigestKind::kCuboidCenter,
                               DigestKind::kCuboidMean};
constexpr DigestKind kOneOfEach[] = {DigestKind::kCentroid, DigestKind::kSphereMean, DigestKind::kCuboidMean};

// Vectors that ReadDigestVectors gives, as they are multiplied: of q8 cuboids [c | rho].
std::vector<double> StoredVectors(const Digests& digests, int64_t page) {
  std::vector<float> v(DigestLength(digests.shape.kind, digests.shape.d));
  ReadDigestVectors(digests.shape.kind, digests.shape.type, digests.shape.d,
                    digests.vectors.data() + page * digests.layout.vector_bytes, v.data());
  return {v.begin(), v.end()};
}

// The largest error of a score: a few f32 roundings of the two products, and of each product's sum with the query at
// most half a step of 2^(1 - bits) of the largest element per dimension. No rounding grows with the dimensions.
double ErrorBound(const Digests& digests, const std::vector<double>& query, int64_t page) {
  const int64_t d = digests.shape.d;
  const int bits = d < 1024 ? 28 : d < 2048 ? 26 : 24;
  const std::vector<double> v = StoredVectors(digests, page);
  const std::vector<double> first(v.begin(), v.begin() + d), second(v.begin() + d, v.end());
  double largest = 0, ones = 0;
  for (const double x : query) largest = std::max(largest, std::abs(x));
  for (const double x : v) ones += std::abs(x);
  return 0x1p-22 * Norm(query) * (Norm(first) + Norm(second)) + std::ldexp(largest, -bits) * ones;
}

void ExpectScores(const Digests& digests, const std::vector<float>& q, const std::vector<float>& scores) {
  const int64_t d = digests.shape.d, n = digests.n_pages;
  for (int64_t h = 0; h < std::ssize(q) / d; ++h) {
    const auto query = Query(q, h, d);
    for (int64_t page = 0; page < n; ++page) {
      const double want = reference::ScoreDigest(digests.shape.kind, digests.Values(page), query);
      ASSERT_NEAR(scores[h * n + page], want, ErrorBound(digests, query, page)) << "head " << h << " page " << page;
    }
  }
}

// Queries whose elements differ by powers of ten, as those of real models do.
std::vector<float> UnevenQueries(Rng& rng, int64_t n) {
  std::vector<float> q = test::RandomVector(rng, n, 1.0f);
  for (float& x : q) x *= std::pow(10.0f, rng.Uniform(-4, 3));
  return q;
}

TEST(DigestQ8, ScoresAreOffByFewRoundingsWhateverTheDimensions) {
  Machine machine(1);
  test::ForEachTarget([&] {
    Rng rng(uint64_t{41});
    for (const int32_t d : {1,   2,   3,   5,   8,   15,  16,  17,  31,  32,   33,   63,   64,   65,   80,   96,
                            100, 127, 128, 129, 192, 255, 256, 512, 576, 1000, 1023, 1024, 1100, 2047, 2048, 2500}) {
      for (const DigestKind kind : kOneOfEach) {
        const test::DigestShape shape{kind, DigestType::kQ8, 2, d};
        SCOPED_TRACE(test::Describe(shape));
        const Stored keys(DType::kF32, test::RandomVector(rng, int64_t{11} * 2 * d, 3.0f));
        const Digests digests(machine.ctx, shape, keys);
        const std::vector<float> even = test::RandomVector(rng, int64_t{3} * d, 2.0f), uneven = UnevenQueries(rng, d);
        ExpectScores(digests, even, digests.Score(machine.ctx, even));
        ExpectScores(digests, uneven, digests.Score(machine.ctx, uneven));
      }
    }
  });
}

// Where every product has the same sign and the largest size, 32 bits must hold the sums.
TEST(DigestQ8, SumsOfTheLargestProductsDoNotOverflow) {
  Machine machine(1);
  test::ForEachTarget([&] {
    for (const int32_t d : {64, 512, 1023, 1024, 2047, 2048, 4096, 8192}) {
      for (const float key : {2.0f, -2.0f}) {
        for (const float x : {1.0f, std::nextafter(2.0f, 0.0f), -1.0f, std::nextafter(-2.0f, 0.0f)}) {
          const test::DigestShape shape{DigestKind::kCuboidMean, DigestType::kQ8, 1, d};
          const Digests digests(machine.ctx, shape, Stored(DType::kF32, std::vector<float>(d, key)));
          const double want = digests.Values(0)[0] * x * d;
          EXPECT_NEAR(digests.Score(machine.ctx, std::vector<float>(d, x))[0], want, std::abs(want) * 0x1p-20)
              << d << " " << key << " " << x;
        }
      }
    }
  });
}

TEST(DigestQ8, AnyNumberOfPagesGivesTheBitsOfEachAlone) {
  Machine one(1), three(3);
  test::ForEachTarget([&] {
    Rng rng(uint64_t{43});
    for (const int32_t d : {5, 64, 72, 128}) {
      for (const DigestKind kind : kAll) {
        const test::DigestShape shape{kind, DigestType::kQ8, 2, d};
        SCOPED_TRACE(test::Describe(shape));
        const std::vector<float> q = test::RandomVector(rng, int64_t{3} * d, 2.0f);
        const Digests all(one.ctx, shape, Stored(DType::kF32, test::RandomVector(rng, int64_t{200} * 2 * d, 3.0f)));
        for (const bool sum : {false, true}) {
          const int64_t heads = sum ? 1 : 3;
          std::vector<float> alone(heads * 200);
          for (int32_t page = 0; page < 200; ++page) {
            const auto scores = all.Score(one.ctx, q, {.sum_heads = sum, .pages = {page}});
            for (int64_t h = 0; h < heads; ++h) alone[h * 200 + page] = scores[h * 200 + page];
          }
          EXPECT_TRUE(test::SameBits(all.Score(one.ctx, q, {.sum_heads = sum}), alone));
          EXPECT_TRUE(test::SameBits(all.Score(three.ctx, q, {.sum_heads = sum}), alone));
          for (int64_t n = 1; n <= 40; ++n) {
            std::vector<float> scores(heads * n + 1, 7.0f);
            DigestScoreItem items[] = {all.Item(q, scores.data())};
            items[0].n_pages = n;
            DigestScoreArgs args = all.Args(3, items);
            args.sum_heads = sum;
            ASSERT_TRUE(DigestScore(one.ctx, args).ok());
            for (int64_t i = 0; i < heads * n; ++i) ASSERT_EQ(scores[i], alone[i / n * 200 + i % n]) << n << " " << i;
            ASSERT_EQ(scores[heads * n], 7.0f) << n;
          }
        }
      }
    }
  });
}

TEST(DigestQ8, SomePagesGetTheirBitsAndOthersStay) {
  Machine machine(2);
  test::ForEachTarget([&] {
    Rng rng(uint64_t{47});
    const test::DigestShape shape{DigestKind::kCuboidMean, DigestType::kQ8, 2, 40};
    const Digests digests(machine.ctx, shape, Stored(DType::kF32, test::RandomVector(rng, 700 * 2 * 40, 3.0f)));
    const std::vector<float> q = test::RandomVector(rng, 2 * 40, 2.0f);
    const auto scores = digests.Score(machine.ctx, q);
    for (int round = 0; round < 20; ++round) {
      std::vector<int32_t> some;
      const float density = rng.Uniform(0, 1);
      for (int32_t page = 0; page < 700; ++page) {
        if (rng.Uniform(0, 1) < density) some.push_back(page);
      }
      if (some.empty()) continue;
      const auto few = digests.Score(machine.ctx, q, {.pages = some});
      for (int32_t i = 0; i < 1400; ++i) {
        const bool asked = std::binary_search(some.begin(), some.end(), i % 700);
        ASSERT_EQ(few[i], asked ? scores[i] : 7.0f) << i;
      }
    }
  });
}

TEST(DigestQ8, SummedHeadsScoreTheirSum) {
  Machine machine(1);
  test::ForEachTarget([&] {
    Rng rng(uint64_t{53});
    for (const DigestKind kind : kAll) {
      const test::DigestShape shape{kind, DigestType::kQ8, 4, 64};
      SCOPED_TRACE(test::Describe(shape));
      const Digests digests(machine.ctx, shape, Stored(DType::kF32, test::RandomVector(rng, 9 * 4 * 64, 3.0f)));
      const std::vector<float> q = test::RandomVector(rng, 5 * 64, 2.0f);
      const auto sums = digests.Score(machine.ctx, q, {.sum_heads = true});
      for (int64_t page = 0; page < 9; ++page) {
        double want = 0, error = 0;
        for (int64_t h = 0; h < 5; ++h) {
          want += reference::ScoreDigest(kind, digests.Values(page), Query(q, h, 64));
          error += 2 * ErrorBound(digests, Query(q, h, 64), page);  // the f32 sums of the heads too
        }
        ASSERT_NEAR(sums[page], want, error);
      }
    }
  });
}

TEST(DigestQ8, QueriesOfZeroAnySizeAndNaN) {
  Machine machine(1);
  test::ForEachTarget([&] {
    Rng rng(uint64_t{59});
    for (const DigestKind kind : kOneOfEach) {
      const test::DigestShape shape{kind, DigestType::kQ8, 2, 48};
      SCOPED_TRACE(test::Describe(shape));
      const Digests digests(machine.ctx, shape, Stored(DType::kF32, test::RandomVector(rng, 5 * 2 * 48, 3.0f)));
      for (const float x : digests.Score(machine.ctx, std::vector<float>(48, 0.0f))) EXPECT_EQ(x, 0);
      const std::vector<float> q = test::RandomVector(rng, 48, 1.0f);
      const auto scores = digests.Score(machine.ctx, q);
      for (const int exponent : {-60, -30, 30, 60}) {  // powers of two change no bit
        std::vector<float> scaled = q;
        for (float& x : scaled) x = std::ldexp(x, exponent);
        const auto other = digests.Score(machine.ctx, scaled);
        for (int i = 0; i < 5; ++i) EXPECT_EQ(other[i], std::ldexp(scores[i], exponent)) << exponent;
      }
      for (const int exponent : {-100, -110}) {  // where the steps would be no normal numbers
        std::vector<float> scaled = q;
        for (float& x : scaled) x = std::ldexp(x, exponent);
        const auto other = digests.Score(machine.ctx, scaled);
        for (int i = 0; i < 5; ++i) EXPECT_NEAR(other[i], std::ldexp(scores[i], exponent), 0x1p-118) << exponent;
      }
      std::vector<float> tiny(48, 1e-44f);
      for (const float x : digests.Score(machine.ctx, tiny)) EXPECT_NEAR(x, 0, 1e-35);
      for (const float wrong : {NAN, INFINITY, -INFINITY}) {
        for (const int at : {0, 40, 47}) {
          std::vector<float> bad = q;
          bad[at] = wrong;
          for (const float x : digests.Score(machine.ctx, bad)) EXPECT_FALSE(std::isfinite(x)) << wrong << " " << at;
        }
      }
    }
  });
}

// Digests that end where memory ends, and start where it starts.
TEST(DigestQ8, ReadsNothingOutsideItsPages) {
  Machine machine(1);
  const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  auto* const memory = static_cast<std::byte*>(
      mmap(nullptr, 3 * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  ASSERT_EQ(mprotect(memory, page_bytes, PROT_NONE), 0);
  ASSERT_EQ(mprotect(memory + 2 * page_bytes, page_bytes, PROT_NONE), 0);
  test::ForEachTarget([&] {
    Rng rng(uint64_t{61});
    for (const int32_t d : {1, 2, 7, 31, 32, 33, 64, 100, 128}) {
      for (const DigestKind kind : kOneOfEach) {
        for (const int64_t n : {1, 3, 7}) {
          const test::DigestShape shape{kind, DigestType::kQ8, 1, d};
          const Digests digests(machine.ctx, shape, Stored(DType::kF32, test::RandomVector(rng, n * d, 1.0f)));
          const std::vector<float> q = test::RandomVector(rng, d, 1.0f);
          const auto want = digests.Score(machine.ctx, q);
          for (const bool at_end : {false, true}) {
            const size_t bytes = digests.vectors.size();
            std::byte* const at = at_end ? memory + 2 * page_bytes - bytes : memory + page_bytes;
            std::copy(digests.vectors.begin(), digests.vectors.end(), at);
            std::vector<float> scores(n);
            DigestScoreItem items[] = {digests.Item(q, scores.data())};
            items[0].vectors = at;
            ASSERT_TRUE(DigestScore(machine.ctx, digests.Args(1, items)).ok());
            EXPECT_TRUE(test::SameBits(scores, want));
          }
        }
      }
    }
  });
  munmap(memory, 3 * page_bytes);
}

}  // namespace
}  // namespace arkvale
