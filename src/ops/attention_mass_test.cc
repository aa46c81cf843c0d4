#include "ops/attention_mass.h"

#include "ops/attention_test_util.h"
#include "ops/prefill_attention.h"
#include "ops/prefill_attention_cases_test_util.h"
#include "ops/quantised_test_util.h"
#include "ops/reference_attention.h"
#include "ops/reference_scores.h"

namespace arkvale {
namespace {

using test::DenseRow;
using test::FakeCache;
using test::Machine;
using test::PrefillAttentionCase;

constexpr float kInf = std::numeric_limits<float>::infinity();

// Prefill's cases, whose windows mean nothing here, and some that have what they lack.
std::vector<PrefillAttentionCase> Cases() {
  std::vector<PrefillAttentionCase> cases = test::PrefillAttentionCases();
  cases.push_back({"llama",
                   {.page_tokens = 16, .heads_per_block = 2, .heads_per_row = 2, .dk = 128, .dv = 128},
                   4,
                   61,
                   37,
                   0,
                   {DenseRow(98, 16)}});
  cases.push_back(
      {"one_query", {.page_tokens = 64, .heads_per_block = 3, .heads_per_row = 3}, 3, 770, 1, 0, {DenseRow(771, 64)}});
  cases.push_back({"pages_of_48", {.page_tokens = 48, .block_tokens = 48}, 1, 100, 30, 0, {DenseRow(130, 48)}});
  cases.push_back({"pages_of_128", {.page_tokens = 128, .block_tokens = 128}, 2, 190, 20, 0, {DenseRow(210, 128)}});
  cases.push_back({"skips_a_page", {.page_tokens = 64}, 1, 0, 150, 0, {test::Skipping(DenseRow(150, 64), 64)}});
  return cases;
}

struct Inputs {
  Inputs(PagedKv cache, const PrefillAttentionCase& c, Rng& rng, float spread)
      : kv(cache),
        gqa(c.gqa),
        heads(kv.n_rows * kv.heads_per_row * gqa),
        position0(c.position0),
        n(c.n),
        scale(1.0f / std::sqrt(float(kv.head_dim_k))) {
    q = test::RandomVector(rng, n * heads * kv.head_dim_k, spread);
    SetSoftcap(0);
    for (int32_t r = 0; r < kv.n_rows; ++r) {
      for (int64_t i = kv.page_begin[r]; i < kv.page_begin[r + 1]; ++i) {
        stride = std::max(stride, kv.page_positions[i] + (i + 1 == kv.page_begin[r + 1] ? kv.last_page_tokens[r] : 0));
      }
    }
  }
  void SetSoftcap(float cap) {
    softcap = cap;
    lse.clear();
    for (int64_t i = 0; i < n; ++i) {
      for (int32_t h = 0; h < heads; ++h) {
        const int32_t e = h / gqa;
        lse.push_back(static_cast<float>(reference::Attend(kv, e / kv.heads_per_row, e % kv.heads_per_row,
                                                           q.data() + (i * heads + h) * kv.head_dim_k, scale, 0,
                                                           position0 + i, softcap)
                                             .lse));
      }
    }
  }
  AttentionMassArgs Args(int64_t at, int64_t count, std::vector<float>& mass) const {
    const int64_t cols = int64_t{heads} * kv.head_dim_k;
    PagedKv keys = kv;
    keys.v_base = nullptr;
    keys.head_dim_v = 0;
    return {.kv = keys,
            .q_heads_per_kv_head = gqa,
            .scale = scale,
            .softcap = softcap,
            .q_position0 = position0 + at,
            .q = {const_cast<float*>(q.data()) + at * cols, count, cols, cols},
            .lse = lse.data() + at * heads,
            .mass = mass.data(),
            .mass_stride = stride};
  }
  PagedKv kv;
  int32_t gqa, heads;
  int64_t position0, n;
  float scale, softcap = 0;
  int64_t stride = 0;  // no longer than the lists
  std::vector<float> q, lse;
};

constexpr float kBefore = 0.25f;

std::vector<float> MassInChunks(const OpContext& ctx, const Inputs& in, int64_t chunk) {
  std::vector<float> mass(int64_t{in.kv.n_rows} * in.kv.heads_per_row * in.stride, kBefore);
  for (int64_t at = 0; at < in.n; at += chunk) {
    const Status status = AttentionMass(ctx, in.Args(at, std::min(chunk, in.n - at), mass));
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  return mass;
}

reference::Mass Reference(const Inputs& in) {
  std::vector<float> unused;
  return reference::AttentionMass(in.Args(0, in.n, unused));
}

void ExpectNear(const reference::Mass& want, const Inputs& in, const std::vector<float>& got) {
  ASSERT_EQ(got.size(), want.added.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (want.error[i] == 0) {
      ASSERT_EQ(got[i], kBefore) << "element " << i;
    } else {
      const double rounding = 6e-8 * static_cast<double>(in.n) * (kBefore + want.added[i]);
      ASSERT_NEAR(got[i], kBefore + want.added[i], want.error[i] * want.added[i] + rounding) << "element " << i;
    }
  }
}

TEST(AttentionMass, MatchesReferenceOnEveryTarget) {
  Machine machine(2);
  for (const PrefillAttentionCase& c : Cases()) {
    SCOPED_TRACE(c.name);
    FakeCache cache(c.shape, c.rows, 1);
    Inputs in(cache.kv(), c, cache.rng(), 4.0f);
    for (const float cap : {0.0f, 1.0f, 30.0f}) {
      in.SetSoftcap(cap);
      const reference::Mass want = Reference(in);
      test::ForEachTarget([&] { ExpectNear(want, in, MassInChunks(machine.ctx, in, in.n)); });
    }
  }
}

TEST(AttentionMass, SharesOfAQueryAddUpToOne) {
  Machine machine(1);
  const PrefillAttentionCase c{"large", {.page_tokens = 16}, 3, 20, 150, 0, {DenseRow(170, 16)}};
  FakeCache cache(c.shape, c.rows, 2, 40.0f);
  const Inputs in(cache.kv(), c, cache.rng(), 40.0f);  // scores of some thousands
  std::vector<float> mass(in.stride, 0.0f);
  ASSERT_TRUE(AttentionMass(machine.ctx, in.Args(0, in.n, mass)).ok());
  double sum = 0;
  for (const float m : mass) sum += m;
  EXPECT_NEAR(sum, 150, 0.1);
}

TEST(AttentionMass, BitsDoNotDependOnChunkOrThreads) {
  Machine one(1), two(2), three(3);
  for (const PrefillAttentionCase& c : Cases()) {
    SCOPED_TRACE(c.name);
    FakeCache cache(c.shape, c.rows, 3);
    Inputs in(cache.kv(), c, cache.rng(), 4.0f);
    for (const float cap : {0.0f, 2.0f}) {
      in.SetSoftcap(cap);
      test::ForEachTarget([&] {
        const auto whole = MassInChunks(one.ctx, in, in.n);
        EXPECT_TRUE(test::SameBits(MassInChunks(three.ctx, in, in.n), whole));
        for (const int64_t chunk : {1, 2, 7, 64}) {
          EXPECT_TRUE(test::SameBits(MassInChunks(two.ctx, in, chunk), whole)) << "chunk " << chunk << " cap " << cap;
        }
      });
    }
  }
}

// A prompt's list grows with its chunks; a page's place in the list must not matter either.
TEST(AttentionMass, BitsDoNotDependOnOtherPages) {
  Machine machine(2);
  const PrefillAttentionCase c{"growing", {.page_tokens = 8}, 3, 0, 203, 0, {DenseRow(203, 8)}};
  FakeCache cache(c.shape, c.rows, 4);
  const Inputs in(cache.kv(), c, cache.rng(), 4.0f);
  const auto whole = MassInChunks(machine.ctx, in, in.n);
  std::vector<float> grown(in.stride, kBefore);
  for (int64_t at = 0; at < in.n; at += 37) {
    const int64_t n = std::min<int64_t>(37, in.n - at);
    AttentionMassArgs args = in.Args(at, n, grown);
    const int64_t begin[] = {0, (at + n + 7) / 8};
    const auto last = static_cast<int32_t>((at + n - 1) % 8 + 1);
    args.kv.page_begin = begin;
    args.kv.last_page_tokens = &last;
    ASSERT_TRUE(AttentionMass(machine.ctx, args).ok());
  }
  EXPECT_TRUE(test::SameBits(grown, whole));
  std::vector<float> later(in.stride, kBefore);
  AttentionMassArgs args = in.Args(0, in.n, later);
  const int64_t begin[] = {3, 26};
  args.kv.page_begin = begin;
  ASSERT_TRUE(AttentionMass(machine.ctx, args).ok());
  for (int64_t t = 0; t < in.stride; ++t) EXPECT_EQ(later[t], t < 24 ? kBefore : whole[t]) << t;
}

TEST(AttentionMass, HeadWithoutLseAddsNothing) {
  Machine machine(1);
  const PrefillAttentionCase c{"two_heads", {.page_tokens = 16}, 2, 0, 40, 0, {DenseRow(40, 16)}};
  FakeCache cache(c.shape, c.rows, 5);
  for (const float cap : {0.0f, 5.0f}) {
    Inputs in(cache.kv(), c, cache.rng(), 1.0f);
    in.SetSoftcap(cap);
    for (int64_t i = 0; i < in.n; ++i) in.lse[2 * i + 1] = -kInf;
    const reference::Mass want = Reference(in);
    test::ForEachTarget([&] { ExpectNear(want, in, MassInChunks(machine.ctx, in, in.n)); });
  }
}

class QuantisedAttentionMass : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(, QuantisedAttentionMass, testing::ValuesIn(test::kQuantTypes), test::QuantTypeName);

TEST_P(QuantisedAttentionMass, HasTheBitsOfItsF32TwinOnEveryTarget) {
  Machine machine(2);
  for (const test::QuantisedCase& quantised_case : test::QuantisedCases()) {
    SCOPED_TRACE(quantised_case.name);
    FakeCache f32(quantised_case.shape, quantised_case.rows, 1);
    const test::QuantisedTwin twin(f32, GetParam());
    const PrefillAttentionCase c{quantised_case.name, quantised_case.shape, quantised_case.gqa, 0, 13, 0,
                                 quantised_case.rows};
    Inputs in(f32.kv(), c, f32.rng(), 4.0f);
    test::ForEachTarget([&] {
      in.kv = f32.kv();
      const auto want = MassInChunks(machine.ctx, in, in.n);
      in.kv = twin.kv();
      EXPECT_TRUE(test::SameBits(MassInChunks(machine.ctx, in, in.n), want));
    });
    ExpectNear(Reference(in), in, MassInChunks(machine.ctx, in, in.n));
  }
}

TEST(AttentionMass, GoesWithPrefillAttention) {
  Machine machine(2);
  const PrefillAttentionCase c{
      "smollm", {.page_tokens = 32, .heads_per_block = 3, .heads_per_row = 3}, 3, 100, 150, 0, {DenseRow(250, 32)}};
  FakeCache cache(c.shape, c.rows, 6);
  Inputs in(cache.kv(), c, cache.rng(), 4.0f);
  const int64_t cols = int64_t{in.heads} * 64;
  std::vector<float> out(in.n * cols), lse(in.n * in.heads);
  ASSERT_TRUE(PrefillAttention(machine.ctx, {.kv = in.kv,
                                             .q_heads_per_kv_head = 3,
                                             .scale = in.scale,
                                             .q_position0 = 100,
                                             .q = {in.q.data(), in.n, cols, cols},
                                             .out = {out.data(), in.n, cols, cols},
                                             .lse = lse.data()})
                  .ok());
  in.lse = lse;
  const auto mass = MassInChunks(machine.ctx, in, in.n);
  for (int64_t e = 0; e < 3; ++e) {
    double sum = 0;
    for (int64_t t = 0; t < in.stride; ++t) sum += mass[e * in.stride + t] - kBefore;
    EXPECT_NEAR(sum, 150, 1e-3);
  }
}

TEST(AttentionMass, RefusesBadArguments) {
  Machine machine(1);
  const PrefillAttentionCase c{"good", {.page_tokens = 16}, 1, 0, 40, 0, {DenseRow(40, 16)}};
  FakeCache cache(c.shape, c.rows, 5);
  const Inputs in(cache.kv(), c, cache.rng(), 1.0f);
  std::vector<float> mass(40);
  const AttentionMassArgs good = in.Args(0, 40, mass);
  ASSERT_TRUE(AttentionMass(machine.ctx, good).ok());
  const auto message = [&](auto change) {
    AttentionMassArgs bad = good;
    change(bad);
    const Status status = AttentionMass(machine.ctx, bad);
    EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
    return status.message();
  };
  const int64_t twice[] = {0, 0, 16};
  EXPECT_EQ(message([&](auto& a) { a.kv.page_positions = twice; }),
            "attention_mass: row 0: page at position 0, must be >= 16");
  EXPECT_EQ(message([&](auto& a) { a.kv.page_positions = nullptr; }), "attention_mass: null page positions");
  EXPECT_EQ(message([&](auto& a) { a.q.cols = 63; }), "attention_mass: q is [40, 63], expected [40, 64]");
  EXPECT_EQ(message([&](auto& a) { a.mass_stride = 39; }),
            "attention_mass: mass of 39 positions per kv head, but the lists end at 40");
  EXPECT_EQ(message([&](auto& a) { a.lse = nullptr; }), "attention_mass: null lse or mass");
  EXPECT_EQ(message([&](auto& a) { a.mass = nullptr; }), "attention_mass: null lse or mass");
  EXPECT_EQ(message([&](auto& a) { a.q_heads_per_kv_head = 0; }),
            "attention_mass: 0 query heads per kv head, must be >= 1");
  message([&](auto& a) { a.kv.k_base = nullptr; });
  message([&](auto& a) { a.q.stride = 63; });
  message([&](auto& a) { a.q.rows = -1; });
  message([&](auto& a) { a.q_position0 = -1; });
  message([&](auto& a) { a.softcap = -1; });
  message([&](auto& a) { a.softcap = NAN; });
  message([&](auto& a) { a.scale = kInf; });
}

TEST(AttentionMass, NothingToDo) {
  Machine machine(1);
  FakeCache cache({}, {DenseRow(0, 32)}, 1);
  std::vector<float> q(64);
  EXPECT_TRUE(AttentionMass(machine.ctx, {.kv = cache.kv(), .q = {q.data(), 1, 64, 64}}).ok());
  EXPECT_TRUE(AttentionMass(machine.ctx, {.kv = cache.kv(), .q = {nullptr, 0, 64, 64}}).ok());
}

}  // namespace
}  // namespace arkvale
