#include "ops/page_scores.h"

#include "ops/attention_test_util.h"
#include "ops/reference_attention.h"

namespace arkvale {
namespace {

using test::CacheShape;
using test::DenseRow;
using test::FakeCache;
using test::Machine;
using test::RowSpec;

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Inputs {
  Inputs(const FakeCache& cache, int32_t gqa, Rng& rng, float spread, float softcap = 0.0f)
      : kv(cache.kv()), gqa(gqa), heads(kv.heads_per_row * gqa), softcap(softcap) {
    q = test::RandomVector(rng, int64_t{kv.n_rows} * heads * kv.head_dim_k, spread);
    kv.v_base = nullptr;
    kv.head_dim_v = 0;
  }
  const float* query(int32_t row, int32_t head) const { return q.data() + (row * heads + head) * kv.head_dim_k; }
  int64_t pages(int32_t row) const { return kv.page_begin[row + 1] - kv.page_begin[row]; }

  PagedKv kv;
  int32_t gqa, heads;
  float scale = 0.125f, softcap;
  std::vector<float> q;
};

// Per row [heads, pages].
struct Output {
  std::vector<std::vector<float>> max_qk, lse;
};

Output Score(const OpContext& ctx, const Inputs& in) {
  Output out;
  std::vector<const float*> q;
  std::vector<float*> max_qk, lse;
  for (int32_t r = 0; r < in.kv.n_rows; ++r) {
    q.push_back(in.query(r, 0));
    out.max_qk.emplace_back(in.heads * in.pages(r), NAN);
    out.lse.emplace_back(in.heads * in.pages(r), NAN);
  }
  for (int32_t r = 0; r < in.kv.n_rows; ++r) {
    max_qk.push_back(out.max_qk[r].data());
    lse.push_back(out.lse[r].data());
  }
  const Status status = PageScores(ctx, {in.kv, in.gqa, in.scale, in.softcap, q.data(), max_qk.data(), lse.data()});
  EXPECT_TRUE(status.ok()) << status.ToString();
  return out;
}

void ExpectNearReference(const FakeCache& cache, const Inputs& in, const Output& got) {
  for (int32_t r = 0; r < in.kv.n_rows; ++r) {
    for (int32_t h = 0; h < in.heads; ++h) {
      for (int64_t page = 0; page < in.pages(r); ++page) {
        SCOPED_TRACE(testing::Message() << "row " << r << " head " << h << " page " << page);
        const int64_t from = in.kv.page_positions[in.kv.page_begin[r] + page], to = from + in.kv.page_tokens - 1;
        const auto want = reference::Attend(cache.kv(), r, h / in.gqa, in.query(r, h), in.scale, from, to, in.softcap);
        const double max = reference::LargestDot(cache.kv(), r, h / in.gqa, in.query(r, h), from, to);
        const float max_qk = got.max_qk[r][h * in.pages(r) + page], lse = got.lse[r][h * in.pages(r) + page];
        if (std::isinf(want.lse)) {
          EXPECT_EQ(max_qk, -kInf);
          EXPECT_EQ(lse, -kInf);
          continue;
        }
        // An f32 dot product of d terms is off by about sqrt(d) roundings of the largest score (unscaled: 8 times).
        const double error = 4e-7 * (8 + want.top * std::sqrt(in.kv.head_dim_k));
        ASSERT_NEAR(lse, want.lse, error + 2e-7 * std::abs(want.lse));
        if (in.softcap == 0) {
          ASSERT_NEAR(max_qk, max, 8 * error);
        } else {
          ASSERT_NEAR(max_qk, max, 1e-5 * (8 + std::abs(max)));
        }
      }
    }
  }
}

RowSpec At(RowSpec row, int32_t head0, int32_t skip = 0) {
  row.head0 = head0;
  row.first_page_skip = skip;
  return row;
}

struct Case {
  const char* name;
  CacheShape shape;
  int32_t gqa;
  std::vector<RowSpec> rows;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  cases.push_back({"one_token", {}, 1, {DenseRow(1, 32)}});
  cases.push_back({"empty_rows", {.page_tokens = 16}, 4, {DenseRow(0, 16), DenseRow(33, 16), DenseRow(0, 16)}});
  cases.push_back({"smollm", {.page_tokens = 32, .heads_per_block = 3, .heads_per_row = 3}, 3, {DenseRow(601, 32)}});
  cases.push_back(
      {"groups", {.page_tokens = 16, .heads_per_block = 3}, 3, {At(DenseRow(99, 16), 0), At(DenseRow(16, 16), 2)}});
  cases.push_back({"gemma", {.page_tokens = 32, .dk = 256, .dv = 256}, 4, {DenseRow(100, 32)}});
  cases.push_back({"gqa7_f32", {.dtype = DType::kF32, .page_tokens = 8, .block_tokens = 8}, 7, {DenseRow(61, 8)}});
  cases.push_back({"odd_80", {.page_tokens = 64, .dk = 80, .dv = 80}, 2, {DenseRow(300, 64)}});
  cases.push_back({"tiny_dims", {.page_tokens = 4, .dk = 5, .dv = 8}, 3, {DenseRow(70, 4)}});
  cases.push_back({"window",
                   {.page_tokens = 64},
                   3,
                   {At(DenseRow(200, 64), 0, 63), At(DenseRow(11, 64), 0, 10), At(DenseRow(130, 64), 0, 64),
                    At(DenseRow(11, 64), 0, 11)}});
  return cases;
}

TEST(PageScores, MatchesReferenceOnEveryTarget) {
  Machine machine(2);
  for (const Case& c : Cases()) {
    for (const float softcap : {0.0f, 3.0f}) {
      SCOPED_TRACE(testing::Message() << c.name << " softcap " << softcap);
      FakeCache cache(c.shape, c.rows, 1);
      const Inputs in(cache, c.gqa, cache.rng(), 4.0f, softcap);
      test::ForEachTarget([&] { ExpectNearReference(cache, in, Score(machine.ctx, in)); });
    }
  }
}

TEST(PageScores, LargeScoresDoNotOverflow) {
  Machine machine(1);
  FakeCache cache({.page_tokens = 16}, {DenseRow(100, 16)}, 2, 40.0f);
  const Inputs in(cache, 4, cache.rng(), 400.0f);
  ExpectNearReference(cache, in, Score(machine.ctx, in));
}

TEST(PageScores, BitsDoNotDependOnThreadsOrOtherRows) {
  Machine one(1), two(2);
  FakeCache cache({.page_tokens = 16, .heads_per_block = 3}, {At(DenseRow(700, 16), 0), At(DenseRow(40, 16), 1)}, 3);
  Inputs in(cache, 3, cache.rng(), 4.0f);
  const Output a = Score(one.ctx, in), b = Score(two.ctx, in);
  for (int r = 0; r < 2; ++r) {
    EXPECT_TRUE(test::SameBits(a.max_qk[r], b.max_qk[r]));
    EXPECT_TRUE(test::SameBits(a.lse[r], b.lse[r]));
  }
  in.kv.n_rows = 1;
  EXPECT_TRUE(test::SameBits(Score(two.ctx, in).lse[0], a.lse[0]));
}

TEST(PageScores, EitherOutputMayBeNull) {
  Machine machine(1);
  FakeCache cache({}, {DenseRow(40, 32), DenseRow(3, 32)}, 4);
  const Inputs in(cache, 1, cache.rng(), 1.0f);
  const Output want = Score(machine.ctx, in);
  const float* q[] = {in.query(0, 0), in.query(1, 0)};
  float max_qk[2] = {}, lse[1] = {};
  float* maxes[] = {max_qk, nullptr};
  float* lses[] = {nullptr, lse};
  ASSERT_TRUE(PageScores(machine.ctx, {in.kv, 1, in.scale, 0.0f, q, maxes, lses}).ok());
  EXPECT_EQ(max_qk[0], want.max_qk[0][0]);
  EXPECT_EQ(max_qk[1], want.max_qk[0][1]);
  EXPECT_EQ(lse[0], want.lse[1][0]);
  ASSERT_TRUE(PageScores(machine.ctx, {in.kv, 1, in.scale, 0.0f, q, nullptr, nullptr}).ok());
}

TEST(PageScores, RefusesBadArguments) {
  Machine machine(1);
  FakeCache cache({}, {DenseRow(40, 32)}, 5);
  const Inputs in(cache, 1, cache.rng(), 1.0f);
  const float* q[] = {in.query(0, 0)};
  const float* no_q[] = {nullptr};
  const PageScoresArgs good{.kv = in.kv, .q = q};
  ASSERT_TRUE(PageScores(machine.ctx, good).ok());
  const auto message = [&](auto change) {
    PageScoresArgs bad = good;
    change(bad);
    const Status status = PageScores(machine.ctx, bad);
    EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
    return status.message();
  };
  EXPECT_EQ(message([&](auto& a) { a.kv.k_base = nullptr; }), "page_scores: row 0: null pages");
  EXPECT_EQ(message([&](auto& a) { a.q_heads_per_kv_head = 0; }),
            "page_scores: 0 query heads per kv head, must be >= 1");
  EXPECT_EQ(message([&](auto& a) { a.q = nullptr; }), "page_scores: null q");
  EXPECT_EQ(message([&](auto& a) { a.q = no_q; }), "page_scores: row 0: null q");
  message([&](auto& a) { a.softcap = -1; });
  message([&](auto& a) { a.softcap = NAN; });
  message([&](auto& a) { a.scale = kInf; });
}

}  // namespace
}  // namespace arkvale
