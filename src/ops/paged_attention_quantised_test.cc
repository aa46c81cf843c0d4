// Attention, page scores and digests over a quantised cache: the bits of the f32 cache that it stands for.
#include <cmath>

#include "ops/digest.h"
#include "ops/page_scores.h"
#include "ops/paged_attention.h"
#include "ops/prefill_attention.h"
#include "ops/quantised_test_util.h"
#include "ops/reference_attention.h"

namespace arkvale {
namespace {

using test::FakeCache;
using test::Machine;
using test::QuantisedCase;
using test::QuantisedCases;
using test::QuantisedTwin;

class QuantisedKv : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(, QuantisedKv, testing::ValuesIn(test::kQuantTypes), test::QuantTypeName);

// Calls check(twin in f32, twin in `type`, queries per kv head, queries of all rows) for every case.
template <typename Check>
void ForEachCase(DType type, uint64_t seed, float largest_q, const Check& check) {
  for (const QuantisedCase& c : QuantisedCases()) {
    SCOPED_TRACE(c.name);
    FakeCache f32(c.shape, c.rows, seed);
    const QuantisedTwin twin(f32, type);
    const PagedKv& kv = twin.kv();
    check(f32.kv(), kv, c.gqa,
          test::RandomVector(f32.rng(), int64_t{kv.n_rows} * kv.heads_per_row * c.gqa * kv.head_dim_k, largest_q));
  }
}

struct Output {
  std::vector<float> out, lse;
  bool operator==(const Output& o) const { return test::SameBits(out, o.out) && test::SameBits(lse, o.lse); }
};

Output Step(const OpContext& ctx, const PagedKv& kv, const std::vector<float>& queries, int32_t gqa, float softcap) {
  const int64_t heads = int64_t{kv.heads_per_row} * gqa;
  Output result{std::vector<float>(kv.n_rows * heads * kv.head_dim_v, NAN), std::vector<float>(kv.n_rows * heads, NAN)};
  std::vector<const float*> q;
  std::vector<float*> out, lse;
  for (int32_t r = 0; r < kv.n_rows; ++r) {
    q.push_back(queries.data() + r * heads * kv.head_dim_k);
    out.push_back(result.out.data() + r * heads * kv.head_dim_v);
    lse.push_back(result.lse.data() + r * heads);
  }
  const Status status = PagedAttention(ctx, {.kv = kv,
                                             .q_heads_per_kv_head = gqa,
                                             .scale = 1.0f / std::sqrt(static_cast<float>(kv.head_dim_k)),
                                             .softcap = softcap,
                                             .q = q.data(),
                                             .out = out.data(),
                                             .lse = lse.data()});
  EXPECT_TRUE(status.ok()) << status.ToString();
  return result;
}

TEST_P(QuantisedKv, PagedAttentionHasTheBitsOfItsF32TwinOnEveryTarget) {
  Machine machine(2);
  ForEachCase(GetParam(), 1, 4.0f,
              [&](const PagedKv& f32, const PagedKv& twin, int32_t gqa, const std::vector<float>& q) {
                for (const float cap : {0.0f, 30.0f}) {
                  test::ForEachTarget(
                      [&] { EXPECT_EQ(Step(machine.ctx, twin, q, gqa, cap), Step(machine.ctx, f32, q, gqa, cap)); });
                }
              });
}

// Bounds as in paged_attention_test.cc.
TEST_P(QuantisedKv, PagedAttentionMatchesReferenceOnEveryTarget) {
  Machine machine(2);
  ForEachCase(GetParam(), 2, 4.0f, [&](const PagedKv&, const PagedKv& kv, int32_t gqa, const std::vector<float>& q) {
    const int32_t heads = kv.heads_per_row * gqa;
    const double scale = 1.0f / std::sqrt(static_cast<float>(kv.head_dim_k));
    test::ForEachTarget([&] {
      const Output got = Step(machine.ctx, kv, q, gqa, 0);
      for (int32_t r = 0; r < kv.n_rows; ++r) {
        for (int32_t h = 0; h < heads; ++h) {
          const int64_t at = r * heads + h;
          const auto want = reference::Attend(kv, r, h / gqa, q.data() + at * kv.head_dim_k, scale);
          const double error = 4e-7 * (8 + want.top * std::sqrt(kv.head_dim_k));
          if (std::isinf(want.lse))
            EXPECT_EQ(got.lse[at], static_cast<float>(want.lse));
          else
            EXPECT_NEAR(got.lse[at], want.lse, error + 2e-7 * std::abs(want.lse));
          for (int32_t t = 0; t < kv.head_dim_v; ++t) {
            ASSERT_NEAR(got.out[at * kv.head_dim_v + t], want.out[t], error * want.largest_value) << r << h << t;
          }
        }
      }
    });
  });
}

TEST_P(QuantisedKv, PagedAttentionBitsDoNotDependOnThreadsOrOtherRows) {
  Machine one(1), two(2);
  FakeCache f32({.dtype = DType::kF32, .page_tokens = 16, .heads_per_block = 3},
                {test::At(test::DenseRow(2000, 16), 0), test::At(test::DenseRow(333, 16), 1)}, 3);
  const QuantisedTwin twin(f32, GetParam());
  const auto q = test::RandomVector(f32.rng(), 2 * 3 * 64, 4.0f);
  const Output a = Step(one.ctx, twin.kv(), q, 3, 0);
  EXPECT_EQ(a, Step(two.ctx, twin.kv(), q, 3, 0));
  PagedKv first = twin.kv();
  first.n_rows = 1;
  const Output alone = Step(two.ctx, first, q, 3, 0);
  EXPECT_TRUE(test::SameBits(alone.out, {a.out.begin(), a.out.begin() + static_cast<int64_t>(alone.out.size())}));
}

TEST_P(QuantisedKv, PagedAttentionRefusesHeadDimsThatAreNoBlocks) {
  Machine machine(1);
  FakeCache cache({.dtype = DType::kF32}, {test::DenseRow(40, 32)}, 5);
  PagedKv kv = cache.kv();
  kv.dtype = GetParam();
  kv.head_dim_v = 48;
  const std::vector<float> q(64);
  std::vector<float> out(64);
  const float* qs[] = {q.data()};
  float* outs[] = {out.data()};
  const Status status = PagedAttention(machine.ctx, {.kv = kv, .scale = 1, .q = qs, .out = outs});
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
  EXPECT_EQ(status.message(), "paged_attention: KV of type " + std::string(DTypeName(GetParam())) +
                                  " with head dims 64, 48: they must be multiples of 32");
}

struct Chunk {
  int64_t n_tokens, q_position0;
  int32_t window;
};

Output Prefill(const OpContext& ctx, const PagedKv& kv, const std::vector<float>& q, int32_t gqa, const Chunk& chunk) {
  const int64_t heads = int64_t{kv.n_rows} * kv.heads_per_row * gqa, n = chunk.n_tokens;
  Output result{std::vector<float>(n * heads * kv.head_dim_v, NAN), std::vector<float>(n * heads, NAN)};
  const Status status =
      PrefillAttention(ctx, {.kv = kv,
                             .q_heads_per_kv_head = gqa,
                             .scale = 1.0f / std::sqrt(static_cast<float>(kv.head_dim_k)),
                             .q_position0 = chunk.q_position0,
                             .window = chunk.window,
                             .q = {const_cast<float*>(q.data()), n, heads * kv.head_dim_k, heads * kv.head_dim_k},
                             .out = {result.out.data(), n, heads * kv.head_dim_v, heads * kv.head_dim_v},
                             .lse = result.lse.data()});
  EXPECT_TRUE(status.ok()) << status.ToString();
  return result;
}

TEST_P(QuantisedKv, PrefillAttentionHasTheBitsOfItsF32TwinOnEveryTarget) {
  Machine machine(2);
  for (const int32_t dim : {32, 64, 96, 128, 256}) {
    SCOPED_TRACE(dim);
    FakeCache f32(
        {.dtype = DType::kF32, .page_tokens = 16, .heads_per_block = 2, .heads_per_row = 2, .dk = dim, .dv = dim},
        {test::At(test::DenseRow(203, 16), 0)}, 7);
    const QuantisedTwin twin(f32, GetParam());
    const auto q = test::RandomVector(f32.rng(), int64_t{67} * 6 * dim, 3.0f);
    for (const Chunk chunk : {Chunk{67, 136, 0}, Chunk{67, 136, 40}, Chunk{1, 202, 0}}) {
      test::ForEachTarget([&] {
        EXPECT_EQ(Prefill(machine.ctx, twin.kv(), q, 3, chunk), Prefill(machine.ctx, f32.kv(), q, 3, chunk));
      });
    }
  }
}

TEST_P(QuantisedKv, PrefillAttentionAgreesWithAStep) {
  Machine machine(2);
  FakeCache f32({.dtype = DType::kF32, .page_tokens = 32, .dk = 96, .dv = 64}, {test::DenseRow(501, 32)}, 8);
  const QuantisedTwin twin(f32, GetParam());
  const auto q = test::RandomVector(f32.rng(), 4 * 96, 3.0f);
  const Output step = Step(machine.ctx, twin.kv(), q, 4, 0);
  const Output prefill = Prefill(machine.ctx, twin.kv(), q, 4, {1, 500, 0});
  for (size_t i = 0; i < step.out.size(); ++i) EXPECT_NEAR(step.out[i], prefill.out[i], 1e-5);
  for (size_t i = 0; i < step.lse.size(); ++i) EXPECT_NEAR(step.lse[i], prefill.lse[i], 1e-5);
}

Output Scores(const OpContext& ctx, const PagedKv& kv, const std::vector<float>& queries, int32_t gqa) {
  const int64_t heads = int64_t{kv.heads_per_row} * gqa, n = heads * kv.page_begin[kv.n_rows];
  Output result{std::vector<float>(n, NAN), std::vector<float>(n, NAN)};
  std::vector<const float*> q;
  std::vector<float*> max_qk, lse;
  for (int32_t r = 0; r < kv.n_rows; ++r) {
    q.push_back(queries.data() + r * heads * kv.head_dim_k);
    max_qk.push_back(result.out.data() + heads * kv.page_begin[r]);
    lse.push_back(result.lse.data() + heads * kv.page_begin[r]);
  }
  const Status status = PageScores(
      ctx,
      {.kv = kv, .q_heads_per_kv_head = gqa, .scale = 0.2f, .q = q.data(), .max_qk = max_qk.data(), .lse = lse.data()});
  EXPECT_TRUE(status.ok()) << status.ToString();
  return result;
}

TEST_P(QuantisedKv, PageScoresHaveTheBitsOfTheirF32TwinOnEveryTarget) {
  Machine machine(2);
  ForEachCase(
      GetParam(), 4, 2.0f, [&](const PagedKv& f32, const PagedKv& twin, int32_t gqa, const std::vector<float>& q) {
        test::ForEachTarget([&] { EXPECT_EQ(Scores(machine.ctx, twin, q, gqa), Scores(machine.ctx, f32, q, gqa)); });
      });
}

// The vectors and planes of one digest of `keys` [p, d].
std::vector<std::byte> Digest(const OpContext& ctx, DigestKind kind, DType dtype, const void* keys, int32_t p,
                              int32_t d) {
  const DigestLayout layout = *MakeDigestLayout(kind, DigestType::kF16, p, d);
  std::vector<std::byte> bytes(layout.bytes());
  std::byte* planes = bytes.data() + layout.vector_bytes;
  const DigestBuildItem item{
      keys, bytes.data(), {planes, layout.n_planes == 2 ? planes + layout.plane_bytes : nullptr}};
  const Status status =
      DigestBuild(ctx, {.kind = kind, .key_dtype = dtype, .page_tokens = p, .head_dim = d, .items = {&item, 1}});
  EXPECT_TRUE(status.ok()) << status.ToString();
  return bytes;
}

TEST_P(QuantisedKv, DigestBuildHasTheBitsOfItsF32TwinOnEveryTarget) {
  Machine machine(1);
  Rng rng("digest_quantised/1");
  for (const int32_t d : {32, 64, 96, 256}) {
    for (const int32_t p : {8, 32}) {
      std::vector<float> keys = test::RandomVector(rng, int64_t{p} * d, 3.0f);
      const std::vector<std::byte> rows = test::QuantiseRows(GetParam(), keys.data(), p, d);
      for (int kind = 0; kind <= static_cast<int>(DigestKind::kCode2); ++kind) {
        test::ForEachTarget([&] {
          const auto k = static_cast<DigestKind>(kind);
          EXPECT_EQ(Digest(machine.ctx, k, GetParam(), rows.data(), p, d),
                    Digest(machine.ctx, k, DType::kF32, keys.data(), p, d))
              << DigestName(k) << " " << d << " " << p;
        });
      }
    }
  }
  EXPECT_EQ(
      DigestBuild(machine.ctx, {.key_dtype = GetParam(), .head_dim = 40, .items = {}}).message(),
      "digest_build: keys of " + std::string(DTypeName(GetParam())) + " with head dim 40, must be a multiple of 32");
}

}  // namespace
}  // namespace arkvale
