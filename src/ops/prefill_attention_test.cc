#include "ops/prefill_attention.h"

#include "ops/attention_test_util.h"
#include "ops/prefill_attention_cases_test_util.h"
#include "ops/reference_attention.h"

namespace arkvale {
namespace {

using test::DenseRow;
using test::FakeCache;
using test::Machine;
using test::PrefillAttentionCase;

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Inputs {
  Inputs(const FakeCache& cache, const PrefillAttentionCase& c, Rng& rng, float spread)
      : kv(cache.kv()),
        gqa(c.gqa),
        heads(kv.n_rows * kv.heads_per_row * gqa),
        position0(c.position0),
        n(c.n),
        window(c.window),
        scale(1.0f / std::sqrt(float(kv.head_dim_k))) {
    q = test::RandomVector(rng, n * heads * kv.head_dim_k, spread);
  }
  PagedKv kv;
  int32_t gqa, heads;
  int64_t position0, n;
  int32_t window;
  float scale;
  float softcap = 0;
  std::vector<float> q;
};

struct Output {
  std::vector<float> out, lse;
};

// The tokens of `in` in chunks of `chunk`. Later chunks see the same list of pages.
Output AttendInChunks(const OpContext& ctx, const Inputs& in, int64_t chunk) {
  const int64_t q_cols = int64_t{in.heads} * in.kv.head_dim_k, out_cols = int64_t{in.heads} * in.kv.head_dim_v;
  Output result{std::vector<float>(in.n * out_cols, NAN), std::vector<float>(in.n * in.heads, NAN)};
  for (int64_t at = 0; at < in.n; at += chunk) {
    const int64_t n = std::min(chunk, in.n - at);
    const Status status =
        PrefillAttention(ctx, {.kv = in.kv,
                               .q_heads_per_kv_head = in.gqa,
                               .scale = in.scale,
                               .softcap = in.softcap,
                               .q_position0 = in.position0 + at,
                               .window = in.window,
                               .q = {const_cast<float*>(in.q.data()) + at * q_cols, n, q_cols, q_cols},
                               .out = {result.out.data() + at * out_cols, n, out_cols, out_cols},
                               .lse = result.lse.data() + at * in.heads});
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  return result;
}

void ExpectNearReference(const Inputs& in, const Output& got) {
  for (int64_t i = 0; i < in.n; ++i) {
    for (int32_t h = 0; h < in.heads; ++h) {
      const int64_t to = in.position0 + i, from = in.window == 0 ? 0 : to - in.window + 1;
      const int32_t kv_head = h / in.gqa;
      const float* q = in.q.data() + (i * in.heads + h) * in.kv.head_dim_k;
      const auto want = reference::Attend(in.kv, kv_head / in.kv.heads_per_row, kv_head % in.kv.heads_per_row, q,
                                          in.scale, from, to, in.softcap);
      const float lse = got.lse[i * in.heads + h];
      const double score_error = 4e-7 * (8 + want.top * std::sqrt(in.kv.head_dim_k));
      if (std::isinf(want.lse)) {
        ASSERT_EQ(lse, -kInf);
      } else {
        ASSERT_NEAR(lse, want.lse, score_error + 2e-7 * std::abs(want.lse)) << "token " << i << " head " << h;
      }
      for (int32_t t = 0; t < in.kv.head_dim_v; ++t) {
        ASSERT_NEAR(got.out[(i * in.heads + h) * in.kv.head_dim_v + t], want.out[t], score_error * want.largest_value)
            << "token " << i << " head " << h << " dim " << t;
      }
    }
  }
}

TEST(PrefillAttention, MatchesReferenceOnEveryTarget) {
  Machine machine(2);
  for (const PrefillAttentionCase& c : test::PrefillAttentionCases()) {
    SCOPED_TRACE(c.name);
    FakeCache cache(c.shape, c.rows, 1);
    const Inputs in(cache, c, cache.rng(), 4.0f);
    test::ForEachTarget([&] { ExpectNearReference(in, AttendInChunks(machine.ctx, in, in.n)); });
  }
}

TEST(PrefillAttention, SoftcapMatchesReferenceOnEveryTarget) {
  Machine machine(2);
  for (const PrefillAttentionCase& c : test::PrefillAttentionCases()) {
    SCOPED_TRACE(c.name);
    FakeCache cache(c.shape, c.rows, 1);
    Inputs in(cache, c, cache.rng(), 4.0f);
    for (const float cap : {1.0f, 30.0f}) {
      in.softcap = cap;
      test::ForEachTarget([&] { ExpectNearReference(in, AttendInChunks(machine.ctx, in, in.n)); });
    }
  }
}

TEST(PrefillAttention, LargeScoresDoNotOverflow) {
  Machine machine(1);
  const PrefillAttentionCase c{"large", {.page_tokens = 16}, 3, 20, 150, 0, {DenseRow(170, 16)}};
  FakeCache cache(c.shape, c.rows, 2, 40.0f);
  const Inputs in(cache, c, cache.rng(), 40.0f);
  ExpectNearReference(in, AttendInChunks(machine.ctx, in, in.n));
}

TEST(PrefillAttention, BitsDoNotDependOnChunkOrThreads) {
  Machine one(1), two(2);
  for (const PrefillAttentionCase& c : test::PrefillAttentionCases()) {
    SCOPED_TRACE(c.name);
    FakeCache cache(c.shape, c.rows, 3);
    Inputs in(cache, c, cache.rng(), 4.0f);
    for (const float cap : {0.0f, 2.0f}) {
      in.softcap = cap;
      const Output whole = AttendInChunks(one.ctx, in, 512);
      for (const int64_t chunk : {1, 7, 64}) {
        const Output parts = AttendInChunks(two.ctx, in, chunk);
        EXPECT_TRUE(test::SameBits(parts.out, whole.out)) << "chunk " << chunk << " cap " << cap;
        EXPECT_TRUE(test::SameBits(parts.lse, whole.lse)) << "chunk " << chunk << " cap " << cap;
      }
    }
  }
}

// A real prefill's list grows with the chunks, and a window's list loses its oldest pages.
TEST(PrefillAttention, BitsDoNotDependOnPagesThatAreMasked) {
  Machine machine(2);
  const PrefillAttentionCase c{"ring", {.page_tokens = 16}, 3, 0, 600, 100, {DenseRow(600, 16)}};
  FakeCache cache(c.shape, c.rows, 4);
  const Inputs in(cache, c, cache.rng(), 4.0f);
  const Output whole = AttendInChunks(machine.ctx, in, 600);
  const int64_t cols = 3 * 64;
  for (int64_t at = 0; at < 600; at += 37) {
    const int64_t n = std::min<int64_t>(37, 600 - at);
    const int64_t begin[] = {std::max<int64_t>(0, at - 99) / 16, (at + n + 15) / 16};
    const auto last = static_cast<int32_t>((at + n - 1) % 16 + 1);
    const auto skip = static_cast<int32_t>(std::max<int64_t>(0, at - 99) % 16);
    PagedKv kv = in.kv;
    kv.page_begin = begin;
    kv.last_page_tokens = &last;
    kv.first_page_skip = &skip;
    std::vector<float> out(n * cols, NAN);
    ASSERT_TRUE(PrefillAttention(machine.ctx, {.kv = kv,
                                               .q_heads_per_kv_head = 3,
                                               .scale = in.scale,
                                               .q_position0 = at,
                                               .window = 100,
                                               .q = {const_cast<float*>(in.q.data()) + at * cols, n, cols, cols},
                                               .out = {out.data(), n, cols, cols}})
                    .ok());
    EXPECT_TRUE(test::SameBits(out, {whole.out.begin() + at * cols, whole.out.begin() + (at + n) * cols})) << at;
  }
}

TEST(PrefillAttention, RefusesBadArguments) {
  Machine machine(1);
  const PrefillAttentionCase c{"good", {.page_tokens = 16}, 1, 0, 40, 0, {DenseRow(40, 16)}};
  FakeCache cache(c.shape, c.rows, 5);
  const Inputs in(cache, c, cache.rng(), 1.0f);
  std::vector<float> out(40 * 64);
  const PrefillAttentionArgs good{
      .kv = in.kv, .q = {const_cast<float*>(in.q.data()), 40, 64, 64}, .out = {out.data(), 40, 64, 64}};
  ASSERT_TRUE(PrefillAttention(machine.ctx, good).ok());
  const auto message = [&](auto change) {
    PrefillAttentionArgs bad = good;
    change(bad);
    const Status status = PrefillAttention(machine.ctx, bad);
    EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
    return status.message();
  };
  const int64_t twice[] = {0, 0, 16}, crooked[] = {0, 16, 33};
  EXPECT_EQ(message([&](auto& a) { a.kv.page_positions = twice; }),
            "prefill_attention: row 0: page at position 0, must be a multiple of 16 and >= 16");
  EXPECT_EQ(message([&](auto& a) { a.kv.page_positions = crooked; }),
            "prefill_attention: row 0: page at position 33, must be a multiple of 16 and >= 32");
  EXPECT_EQ(message([&](auto& a) { a.kv.block_tokens = a.kv.page_tokens = 128; }),
            "prefill_attention: page of 128 tokens, must divide 64");
  EXPECT_EQ(message([&](auto& a) { a.q.cols = 63; }),
            "prefill_attention: q is [40, 63] with stride 64, must be [40, 64]");
  message([&](auto& a) { a.out.rows = 39; });
  message([&](auto& a) { a.out.stride = 63; });
  message([&](auto& a) { a.window = -1; });
  message([&](auto& a) { a.softcap = -1; });
  message([&](auto& a) { a.q_position0 = -1; });
  message([&](auto& a) { a.q_heads_per_kv_head = 0; });
}

}  // namespace
}  // namespace arkvale
