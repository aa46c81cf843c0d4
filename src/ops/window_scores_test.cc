#include "ops/window_scores.h"

#include "ops/attention_test_util.h"
#include "ops/quantised_test_util.h"
#include "ops/reference_scores.h"
#include "ops/window_scores_cpu.h"

namespace arkvale {
namespace {

using test::CacheShape;
using test::DenseRow;
using test::FakeCache;
using test::Machine;
using test::RowSpec;

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Case {
  const char* name;
  CacheShape shape;
  int32_t gqa;
  int64_t n_tokens, window;
  int32_t kernel;
  std::vector<RowSpec> rows;
};

std::vector<Case> Cases() {
  using test::At;
  std::vector<Case> cases;
  cases.push_back({"two_tokens", {}, 1, 2, 1, 7, {DenseRow(2, 32)}});
  cases.push_back({"no_window", {}, 1, 9, 0, 3, {DenseRow(9, 32)}});
  cases.push_back({"smollm", {.heads_per_block = 3, .heads_per_row = 3}, 3, 601, 8, 7, {DenseRow(601, 32)}});
  cases.push_back({"many_stretches", {.page_tokens = 64}, 3, 4207, 8, 7, {DenseRow(4207, 64)}});
  cases.push_back({"groups",
                   {.page_tokens = 16, .heads_per_block = 3},
                   3,
                   99,
                   5,
                   1,
                   {At(DenseRow(99, 16), 0), At(DenseRow(99, 16), 1), At(DenseRow(99, 16), 2)}});
  cases.push_back({"two_by_two",
                   {.page_tokens = 8, .heads_per_block = 4, .heads_per_row = 2},
                   1,
                   70,
                   33,
                   5,
                   {At(DenseRow(70, 8), 0), At(DenseRow(70, 8), 2)}});
  cases.push_back({"gemma", {.page_tokens = 32, .dk = 256, .dv = 256}, 4, 200, 8, 7, {DenseRow(200, 32)}});
  cases.push_back({"llama_f32",
                   {.dtype = DType::kF32, .page_tokens = 64, .dk = 128, .dv = 128},
                   4,
                   163,
                   32,
                   7,
                   {DenseRow(163, 64)}});
  cases.push_back({"odd_80", {.page_tokens = 16, .dk = 80, .dv = 40}, 1, 140, 100, 9, {DenseRow(140, 16)}});
  cases.push_back({"tiny_dims", {.page_tokens = 4, .dk = 5, .dv = 8}, 2, 73, 3, 3, {DenseRow(73, 4)}});
  cases.push_back({"wide_kernel", {.page_tokens = 8}, 3, 21, 4, 101, {DenseRow(21, 8)}});
  cases.push_back({"longer_list", {.page_tokens = 8}, 3, 66, 4, 7, {DenseRow(200, 8)}});
  return cases;
}

struct Inputs {
  Inputs(PagedKv cache, const Case& c, Rng& rng, float spread) : kv(cache), c(c) {
    kv_heads = int64_t{kv.n_rows} * kv.heads_per_row;
    cols = kv_heads * c.gqa * kv.head_dim_k;
    q = test::RandomVector(rng, c.window * cols, spread);
    kv.v_base = nullptr;
    kv.head_dim_v = 0;
  }
  WindowScoresArgs Args(std::vector<float>& scores) const {
    return {.kv = kv,
            .q_heads_per_kv_head = c.gqa,
            .scale = 1.0f / std::sqrt(static_cast<float>(kv.head_dim_k)),
            .softcap = softcap,
            .n_tokens = c.n_tokens,
            .q = {const_cast<float*>(q.data()), c.window, cols, cols},
            .kernel = c.kernel,
            .pooling = pooling,
            .scores = scores.data()};
  }
  PagedKv kv;
  const Case& c;
  int64_t kv_heads, cols;
  float softcap = 0;
  Pooling pooling = Pooling::kAverage;
  std::vector<float> q;
};

std::vector<float> Score(const OpContext& ctx, const Inputs& in) {
  std::vector<float> scores(in.kv_heads * (in.c.n_tokens - in.c.window), NAN);
  const Status status = WindowScores(ctx, in.Args(scores));
  EXPECT_TRUE(status.ok()) << status.ToString();
  return scores;
}

reference::Window Reference(const Inputs& in) {
  std::vector<float> unused;
  return reference::WindowScores(in.Args(unused));
}

void ExpectNear(const reference::Window& want, const std::vector<float>& got) {
  ASSERT_EQ(got.size(), want.scores.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want.scores[i], want.error * want.scores[i] + 1e-30) << "element " << i;
  }
}

TEST(WindowScores, MatchesReferenceOnEveryTarget) {
  Machine machine(2);
  for (const Case& c : Cases()) {
    FakeCache cache(c.shape, c.rows, 1);
    Inputs in(cache.kv(), c, cache.rng(), 4.0f);
    for (const float cap : {0.0f, 3.0f}) {
      for (const Pooling pooling : {Pooling::kAverage, Pooling::kMax}) {
        SCOPED_TRACE(testing::Message() << c.name << " softcap " << cap << " max " << (pooling == Pooling::kMax));
        in.softcap = cap;
        in.pooling = pooling;
        const reference::Window want = Reference(in);
        test::ForEachTarget([&] { ExpectNear(want, Score(machine.ctx, in)); });
      }
    }
  }
}

TEST(WindowScores, LargeScoresDoNotOverflow) {
  Machine machine(1);
  const Case c{"large", {.page_tokens = 16}, 3, 2170, 8, 7, {DenseRow(2170, 16)}};
  FakeCache cache(c.shape, c.rows, 2, 40.0f);
  const Inputs in(cache.kv(), c, cache.rng(), 40.0f);
  ExpectNear(Reference(in), Score(machine.ctx, in));
}

TEST(WindowScores, BitsDoNotDependOnThreads) {
  Machine one(1), two(2), three(3);
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    FakeCache cache(c.shape, c.rows, 3);
    const Inputs in(cache.kv(), c, cache.rng(), 4.0f);
    test::ForEachTarget([&] {
      const auto want = Score(one.ctx, in);
      EXPECT_TRUE(test::SameBits(Score(two.ctx, in), want));
      EXPECT_TRUE(test::SameBits(Score(three.ctx, in), want));
    });
  }
}

class QuantisedWindowScores : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(, QuantisedWindowScores, testing::ValuesIn(test::kQuantTypes), test::QuantTypeName);

TEST_P(QuantisedWindowScores, HasTheBitsOfItsF32TwinOnEveryTarget) {
  Machine machine(2);
  for (const int32_t dim : {32, 64, 128, 256}) {
    SCOPED_TRACE(dim);
    const Case c{
        "quantised",
        {.dtype = DType::kF32, .page_tokens = 16, .heads_per_block = 2, .heads_per_row = 2, .dk = dim, .dv = dim},
        3,
        301,
        8,
        7,
        {DenseRow(301, 16)}};
    FakeCache f32(c.shape, c.rows, 4);
    const test::QuantisedTwin twin(f32, GetParam());
    Inputs in(f32.kv(), c, f32.rng(), 4.0f);
    test::ForEachTarget([&] {
      in.kv.k_base = f32.kv().k_base;
      in.kv.dtype = DType::kF32;
      const auto want = Score(machine.ctx, in);
      in.kv.k_base = twin.kv().k_base;
      in.kv.dtype = GetParam();
      EXPECT_TRUE(test::SameBits(Score(machine.ctx, in), want));
    });
    ExpectNear(Reference(in), Score(machine.ctx, in));
  }
}

// algorithms 10.3
TEST(WindowScores, PoolingOfTheWorkedExample) {
  constexpr int64_t kPad = 3;
  const std::vector<float> u = {0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 14, 0, 0, 0};
  test::ForEachTarget([&] {
    std::vector<float> average(9, 0.0f), max(9, 1.0f);
    cpu::AddPooled(u.data() + kPad, 9, 7, Pooling::kAverage, average.data());
    EXPECT_EQ(average, (std::vector<float>{1, 1, 1, 1, 0, 2, 2, 2, 2}));
    cpu::AddPooled(u.data() + kPad, 9, 7, Pooling::kMax, max.data());
    EXPECT_EQ(max, (std::vector<float>{8, 8, 8, 8, 1, 15, 15, 15, 15}));
  });
  EXPECT_EQ(reference::Pool({7, 0, 0, 0, 0, 0, 0, 0, 14}, 7, Pooling::kAverage),
            (std::vector<double>{1, 1, 1, 1, 0, 2, 2, 2, 2}));
}

TEST(WindowScores, RefusesBadArguments) {
  Machine machine(1);
  const Case c{"good", {.page_tokens = 16}, 1, 40, 8, 7, {DenseRow(40, 16)}};
  FakeCache cache(c.shape, c.rows, 5);
  const Inputs in(cache.kv(), c, cache.rng(), 1.0f);
  std::vector<float> scores(32);
  const WindowScoresArgs good = in.Args(scores);
  ASSERT_TRUE(WindowScores(machine.ctx, good).ok());
  const auto message = [&](auto change) {
    WindowScoresArgs bad = good;
    change(bad);
    const Status status = WindowScores(machine.ctx, bad);
    EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
    return status.message();
  };
  const int64_t gap[] = {0, 16, 48}, twice[] = {0, 16, 16};
  const int32_t skip[] = {1};
  EXPECT_EQ(message([&](auto& a) { a.n_tokens = 8; }), "window_scores: 8 tokens, must be more than the window of 8");
  EXPECT_EQ(message([&](auto& a) { a.kernel = 6; }), "window_scores: pooling kernel 6, must be odd and >= 1");
  EXPECT_EQ(message([&](auto& a) { a.kernel = -1; }), "window_scores: pooling kernel -1, must be odd and >= 1");
  EXPECT_EQ(message([&](auto& a) { a.n_tokens = 41; }), "window_scores: row 0 does not list all of 41 tokens");
  EXPECT_EQ(message([&](auto& a) { a.kv.page_positions = gap; }),
            "window_scores: row 0 does not list all of 40 tokens");
  EXPECT_EQ(message([&](auto& a) { a.kv.first_page_skip = skip; }),
            "window_scores: row 0 does not list all of 40 tokens");
  EXPECT_EQ(message([&](auto& a) { a.kv.page_positions = twice; }),
            "window_scores: row 0: page at position 16, must be >= 32");
  EXPECT_EQ(message([&](auto& a) { a.q.cols = 63; }), "window_scores: q is [8, 63], expected [8, 64]");
  EXPECT_EQ(message([&](auto& a) { a.scores = nullptr; }), "window_scores: null scores");
  message([&](auto& a) { a.kv.k_base = nullptr; });
  message([&](auto& a) { a.q.rows = -1; });
  message([&](auto& a) { a.q_heads_per_kv_head = 0; });
  message([&](auto& a) { a.softcap = -1; });
  message([&](auto& a) { a.scale = kInf; });
  PagedKv none = in.kv;
  none.n_rows = 0;
  EXPECT_TRUE(WindowScores(machine.ctx, {.kv = none, .n_tokens = 40, .q = {scores.data(), 8, 0, 0}}).ok());
}

}  // namespace
}  // namespace arkvale
