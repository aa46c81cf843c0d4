#include "ops/paged_attention.h"

#include "ops/attention_test_util.h"
#include "ops/paged_attention_cases_test_util.h"
#include "ops/reference_attention.h"

namespace arkvale {
namespace {

using test::At;
using test::DenseRow;
using test::FakeCache;
using test::GappyRow;
using test::Machine;

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Output {
  std::vector<float> out, lse;
};

struct Inputs {
  Inputs(const FakeCache& cache, int32_t gqa, Rng& rng, float spread)
      : kv(cache.kv()), gqa(gqa), heads(kv.heads_per_row * gqa), scale(1.0f / std::sqrt(float(kv.head_dim_k))) {
    q = test::RandomVector(rng, int64_t{kv.n_rows} * heads * kv.head_dim_k, spread);
  }
  const float* query(int32_t row, int32_t head) const { return q.data() + (row * heads + head) * kv.head_dim_k; }

  PagedKv kv;
  int32_t gqa, heads;
  float scale;
  float softcap = 0;
  std::vector<float> q;
};

Output AttendRows(const OpContext& ctx, const Inputs& in) {
  const int64_t n = int64_t{in.kv.n_rows} * in.heads;
  Output result{std::vector<float>(n * in.kv.head_dim_v, NAN), std::vector<float>(n, NAN)};
  std::vector<const float*> q;
  std::vector<float*> out, lse;
  for (int32_t r = 0; r < in.kv.n_rows; ++r) {
    q.push_back(in.query(r, 0));
    out.push_back(result.out.data() + int64_t{r} * in.heads * in.kv.head_dim_v);
    lse.push_back(result.lse.data() + int64_t{r} * in.heads);
  }
  const Status status = PagedAttention(ctx, {.kv = in.kv,
                                             .q_heads_per_kv_head = in.gqa,
                                             .scale = in.scale,
                                             .softcap = in.softcap,
                                             .q = q.data(),
                                             .out = out.data(),
                                             .lse = lse.data()});
  EXPECT_TRUE(status.ok()) << status.ToString();
  return result;
}

// Errors of f32: a score of size `top` from d products is off by about sqrt(d) roundings of top; a weight by that much
// relative to itself.
void ExpectNearReference(const Inputs& in, const Output& got) {
  for (int32_t r = 0; r < in.kv.n_rows; ++r) {
    for (int32_t h = 0; h < in.heads; ++h) {
      const auto want = reference::Attend(in.kv, r, h / in.gqa, in.query(r, h), in.scale, 0, INT64_MAX, in.softcap);
      const float lse = got.lse[r * in.heads + h];
      const double score_error = 4e-7 * (8 + want.top * std::sqrt(in.kv.head_dim_k));
      if (std::isinf(want.lse)) {
        EXPECT_EQ(lse, -kInf);
      } else {
        EXPECT_NEAR(lse, want.lse, score_error + 2e-7 * std::abs(want.lse)) << "row " << r << " head " << h;
      }
      for (int32_t t = 0; t < in.kv.head_dim_v; ++t) {
        ASSERT_NEAR(got.out[(r * in.heads + h) * in.kv.head_dim_v + t], want.out[t], score_error * want.largest_value)
            << "row " << r << " head " << h << " dim " << t;
      }
    }
  }
}

TEST(PagedAttention, MatchesReferenceOnEveryTarget) {
  Machine machine(2);
  for (const test::PagedAttentionCase& c : test::PagedAttentionCases()) {
    SCOPED_TRACE(c.name);
    FakeCache cache(c.shape, c.rows, 1);
    const Inputs in(cache, c.gqa, cache.rng(), 4.0f);
    test::ForEachTarget([&] { ExpectNearReference(in, AttendRows(machine.ctx, in)); });
  }
}

// A cap of 1 bends most of these scores (up to about 10), one of 30 few; tanh is within some ulps of the cap.
TEST(PagedAttention, SoftcapMatchesReferenceOnEveryTarget) {
  Machine machine(2);
  for (const test::PagedAttentionCase& c : test::PagedAttentionCases()) {
    SCOPED_TRACE(c.name);
    FakeCache cache(c.shape, c.rows, 1);
    Inputs in(cache, c.gqa, cache.rng(), 4.0f);
    const Output plain = AttendRows(machine.ctx, in);
    for (const float cap : {1.0f, 30.0f}) {
      in.softcap = cap;
      test::ForEachTarget([&] { ExpectNearReference(in, AttendRows(machine.ctx, in)); });
    }
    if (std::isfinite(plain.lse[0]) && plain.lse[0] > 2.5f) {
      in.softcap = 1.0f;
      EXPECT_NE(AttendRows(machine.ctx, in).lse[0], plain.lse[0]);
    }
  }
}

TEST(PagedAttention, LargeScoresDoNotOverflow) {
  Machine machine(1);
  FakeCache cache({.page_tokens = 16}, {DenseRow(700, 16)}, 2, 40.0f);
  const Inputs in(cache, 4, cache.rng(), 40.0f);
  ExpectNearReference(in, AttendRows(machine.ctx, in));
}

TEST(PagedAttention, BitsDoNotDependOnThreadsOrOtherRows) {
  Machine one(1), two(2);
  FakeCache cache({.page_tokens = 16, .heads_per_block = 3}, {At(DenseRow(2000, 16), 0), At(GappyRow(40, 16, 3), 1)},
                  3);
  const Inputs in(cache, 3, cache.rng(), 4.0f);
  const Output a = AttendRows(one.ctx, in), b = AttendRows(two.ctx, in);
  EXPECT_TRUE(test::SameBits(a.out, b.out));
  EXPECT_TRUE(test::SameBits(a.lse, b.lse));
  Inputs first = in;
  first.kv.n_rows = 1;
  const Output alone = AttendRows(two.ctx, first);
  EXPECT_TRUE(test::SameBits(alone.out, {a.out.begin(), a.out.begin() + static_cast<int64_t>(alone.out.size())}));
}

TEST(PagedAttention, NullLseIsAllowed) {
  Machine machine(1);
  FakeCache cache({}, {DenseRow(40, 32), DenseRow(3, 32)}, 4);
  const Inputs in(cache, 1, cache.rng(), 1.0f);
  const Output want = AttendRows(machine.ctx, in);
  std::vector<float> out(2 * 64, NAN), lse(1, NAN);
  const float* q[] = {in.query(0, 0), in.query(1, 0)};
  float* outs[] = {out.data(), out.data() + 64};
  float* lses[] = {nullptr, lse.data()};
  PagedAttentionArgs args{.kv = in.kv, .q_heads_per_kv_head = 1, .scale = in.scale, .q = q, .out = outs, .lse = lses};
  ASSERT_TRUE(PagedAttention(machine.ctx, args).ok());
  EXPECT_TRUE(test::SameBits(out, want.out));
  EXPECT_EQ(lse[0], want.lse[1]);
  args.lse = nullptr;
  ASSERT_TRUE(PagedAttention(machine.ctx, args).ok());
}

TEST(PagedAttention, RefusesBadArguments) {
  Machine machine(1);
  FakeCache cache({}, {DenseRow(40, 32)}, 5);
  const Inputs in(cache, 1, cache.rng(), 1.0f);
  std::vector<float> out(64);
  const float* q[] = {in.query(0, 0)};
  float* outs[] = {out.data()};
  const PagedAttentionArgs good{.kv = in.kv, .q_heads_per_kv_head = 1, .scale = 1.0f, .q = q, .out = outs};
  ASSERT_TRUE(PagedAttention(machine.ctx, good).ok());

  const int32_t too_many[] = {33}, none[] = {0}, skip[] = {-1}, head[] = {1}, id[] = {0, -7};
  const auto message = [&](auto change) {
    PagedAttentionArgs bad = good;
    change(bad);
    const Status status = PagedAttention(machine.ctx, bad);
    EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
    return status.message();
  };
  EXPECT_EQ(message([&](auto& a) { a.kv.last_page_tokens = too_many; }),
            "paged_attention: row 0: last page has 33 tokens, must be 1..32");
  message([&](auto& a) { a.kv.last_page_tokens = none; });
  message([&](auto& a) { a.kv.first_page_skip = skip; });
  EXPECT_EQ(message([&](auto& a) { a.kv.head0 = head; }),
            "paged_attention: row 0: kv heads from 1 on, but a block has 1");
  EXPECT_EQ(message([&](auto& a) { a.kv.page_ids = id; }), "paged_attention: row 0: page id -7");
  EXPECT_EQ(message([&](auto& a) { a.kv.page_tokens = 24; }),
            "paged_attention: page of 24 tokens does not divide a block of 64");
  EXPECT_EQ(message([&](auto& a) { a.kv.dtype = DType::kI32; }),
            "paged_attention: KV of type i32 not supported: f16, f32, q8_0 or q4_0");
  message([&](auto& a) { a.q_heads_per_kv_head = 0; });
  message([&](auto& a) { a.softcap = -1; });
  message([&](auto& a) { a.softcap = NAN; });
  message([&](auto& a) { a.kv.heads_per_row = 2; });
  message([&](auto& a) { a.kv.head_dim_k = 0; });
  message([&](auto& a) { a.q = nullptr; });
}

}  // namespace
}  // namespace arkvale
