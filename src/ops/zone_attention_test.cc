#include "ops/zone_attention.h"

#include <algorithm>
#include <cmath>

// clang-format off
#include "ops/test_util.h"  // before hwy
#include "ops/merge_state.h"
#include "ops/zone_cases_test_util.h"
// clang-format on

namespace arkvale {
namespace {

using test::Machine;
using test::ZoneCase;
using test::ZoneCases;
using test::ZoneOutput;
using test::ZonePages;

constexpr float kInf = std::numeric_limits<float>::infinity();

class Zone : public test::EveryTarget {
 protected:
  Machine machine_{2};
};
INSTANTIATE_TEST_SUITE_P(Simd, Zone, test::EveryTarget::Values(), test::EveryTarget::Name);

void ExpectNear(const ZonePages& zone, const std::vector<float>& q, std::span<const int32_t> pages, float softcap,
                const ZoneOutput& got) {
  const ZoneCase& c = zone.shape;
  for (int32_t h = 0; h < c.heads; ++h) {
    const test::ZoneWanted want = zone.Wanted(test::Query(q, h, c.dk), pages, softcap);
    if (pages.empty()) {
      ASSERT_EQ(got.lse[h], -kInf);
    } else {
      ASSERT_NEAR(got.lse[h], want.exact.lse, want.lse_bound) << "head " << h;
    }
    for (int32_t t = 0; t < c.dv; ++t) {
      ASSERT_NEAR(got.out[h * c.dv + t], want.exact.out[t], want.out_bound[t]) << "head " << h << " dim " << t;
    }
  }
}

TEST_P(Zone, MatchesReference) {
  for (const ZoneCase& c : ZoneCases()) {
    SCOPED_TRACE(c.name);
    const ZonePages zone(machine_.ctx, c, 91);
    // Query 0: all tokens weigh the same.
    for (const auto [spread, softcap] :
         {std::pair{0.0f, 0.0f}, {0.5f, 0.0f}, {4.0f, 0.0f}, {4.0f, 1.0f}, {4.0f, 9.0f}}) {
      Rng rng(uint64_t{92});
      const std::vector<float> q = test::RandomVector(rng, int64_t{c.heads} * c.dk, spread);
      for (const auto& pages : zone.Lists()) {
        SCOPED_TRACE("softcap " + std::to_string(softcap) + " q " + std::to_string(spread) + " pages " +
                     std::to_string(pages.size()));
        ExpectNear(zone, q, pages, softcap, zone.Attend(machine_.ctx, q, pages, softcap));
      }
    }
  }
}

// A query that hardly sees but one token: its value comes back as it is coded.
TEST_P(Zone, OneTokenTakesAll) {
  for (const int bits : {2, 4}) {
    const ZoneCase c{.name = "peak", .bits = bits, .p = 32, .dk = 32, .dv = 40, .heads = 1, .n_pages = 20};
    const ZonePages zone(machine_.ctx, c, 93);
    for (const int32_t page : {0, 7, 19}) {
      for (const int token : {0, 1, 6, 15, 16, 31}) {
        const int32_t list[] = {page};
        std::vector<float> q(32);  // towards the token's rebuilt key, and far from the others
        for (int t = 0; t < 32; ++t) q[t] = 4000.0f * static_cast<float>(zone.RebuiltKey(page, token)[t]);
        const auto keys = zone.KeyEstimates(page, test::Query(q, 0, 32));
        const auto best = std::max_element(keys.begin(), keys.end()) - keys.begin();
        const ZoneOutput got = zone.Attend(machine_.ctx, q, list, 0);
        const auto coded = zone.values.Read(page);
        for (int t = 0; t < 40; ++t) {
          const double st = coded.st[best], v = coded.lo[best] + st * coded.codes[best * 40 + t];
          ASSERT_NEAR(got.out[t], v, st * ((1 << bits) - 1) / 255 + 1e-5) << page << " " << token;
        }
      }
    }
  }
}

// The largest score of a page's keys is its digest's score.
TEST_P(Zone, LargestScoreIsThatOfTheDigest) {
  for (const DigestType type : test::kDigestTypes) {
    const ZoneCase c{.name = "", .type = type, .p = 16, .dk = 80, .dv = 8, .heads = 5, .n_pages = 6};
    const ZonePages zone(machine_.ctx, c, 95);
    Rng rng(uint64_t{96});
    const std::vector<float> q = test::RandomVector(rng, 5 * 80, 4.0f);
    const std::vector<float> scores = zone.keys.Score(machine_.ctx, q);
    for (int32_t page = 0; page < 6; ++page) {
      const int32_t list[] = {page};
      const ZoneOutput got = zone.Attend(machine_.ctx, q, list, 0, /*scale=*/1e4f);  // lse: 1e4 times the maximum
      for (int h = 0; h < 5; ++h) {
        const double want = 1e4 * scores[h * 6 + page];
        ASSERT_GE(got.lse[h], want - 1e-6 * (std::abs(want) + 1e6));
        ASSERT_LE(got.lse[h], want + std::log(16.0) + 1e-6 * (std::abs(want) + 1e6));
      }
    }
  }
}

TEST_P(Zone, BitsDoNotDependOnThreadsHeadsOrOtherItems) {
  Machine one(1), two(2), three(3);
  for (const DigestType type : test::kDigestTypes) {
    const ZoneCase c{.name = "", .type = type, .p = 8, .dk = 64, .dv = 40, .heads = 5, .n_pages = 300};
    const ZonePages zone(machine_.ctx, c, 97);
    Rng rng(uint64_t{98});
    const std::vector<float> q = test::RandomVector(rng, 5 * 64, 2.0f);
    const auto lists = zone.Lists();
    const auto all = zone.AttendLists(one.ctx, q, lists);
    for (const Machine* machine : {&two, &three}) {
      const auto other = zone.AttendLists(machine->ctx, q, lists);
      for (size_t i = 0; i < lists.size(); ++i) {
        EXPECT_TRUE(test::SameBits(other[i].out, all[i].out));
        EXPECT_TRUE(test::SameBits(other[i].lse, all[i].lse));
      }
    }
    for (size_t i = 0; i < lists.size(); ++i) {
      const ZoneOutput alone = zone.Attend(three.ctx, q, lists[i], 0);
      EXPECT_TRUE(test::SameBits(alone.out, all[i].out));
      EXPECT_TRUE(test::SameBits(alone.lse, all[i].lse));
    }
    ZonePages single = zone;
    single.shape.heads = 1;
    for (int h = 0; h < 5; ++h) {
      const ZoneOutput alone = single.Attend(two.ctx, {q.begin() + h * 64, q.begin() + (h + 1) * 64}, lists.back(), 0);
      EXPECT_TRUE(test::SameBits(alone.out, {all.back().out.begin() + h * 40, all.back().out.begin() + (h + 1) * 40}));
      EXPECT_EQ(alone.lse[0], all.back().lse[h]);
    }
  }
}

TEST_P(Zone, ScoresOfKeysThatTheDigestsLeftGiveTheSameBits) {
  for (const ZoneCase& c : ZoneCases()) {
    SCOPED_TRACE(c.name);
    const ZonePages zone(machine_.ctx, c, 109);
    Rng rng(uint64_t{110});
    const std::vector<float> q = test::RandomVector(rng, int64_t{c.heads} * c.dk, 4.0f);
    std::vector<float> scores(c.heads * c.n_pages), key_scores(c.heads * c.n_pages * c.p);
    DigestScoreItem scored[] = {zone.keys.Item(q, scores.data())};
    scored[0].key_scores = key_scores.data();
    ASSERT_TRUE(DigestScore(machine_.ctx, zone.keys.Args(c.heads, scored)).ok());
    for (const float softcap : {0.0f, 5.0f}) {
      for (const auto& pages : zone.Lists()) {
        const ZoneOutput want = zone.Attend(machine_.ctx, q, pages, softcap);
        ZoneOutput got{std::vector<float>(want.out.size(), NAN), std::vector<float>(want.lse.size(), NAN)};
        ZoneAttentionItem items[] = {zone.Item(q.data(), pages, got.out.data(), got.lse.data())};
        // Of other pages nothing is read.
        std::vector<float> of_zone(key_scores.size(), NAN);
        for (int64_t h = 0; h < c.heads; ++h) {
          for (const int32_t page : pages) {
            const int64_t at = (h * c.n_pages + page) * c.p;
            std::copy_n(key_scores.begin() + at, c.p, of_zone.begin() + at);
          }
        }
        items[0].key_scores = of_zone.data();
        items[0].vectors = items[0].planes[0] = items[0].planes[1] = nullptr;
        ASSERT_TRUE(ZoneAttention(machine_.ctx, zone.Args(items, softcap)).ok());
        EXPECT_TRUE(test::SameBits(got.out, want.out));
        EXPECT_TRUE(test::SameBits(got.lse, want.lse));
      }
    }
  }
}

// Exact attention over some tokens and the zone over others, joined, is attention over the union.
TEST_P(Zone, JoinedWithExactAttention) {
  for (const int bits : {2, 4}) {
    const ZoneCase c{.name = "", .bits = bits, .p = 32, .dk = 64, .dv = 48, .heads = 3, .n_pages = 21};
    const ZonePages zone(machine_.ctx, c, 101);
    test::FakeCache cache({.page_tokens = 16, .dk = 64, .dv = 48}, {test::DenseRow(150, 16)}, 102);
    const std::vector<float> q = test::RandomVector(cache.rng(), 3 * 64, 1.0f);
    for (const auto& pages : zone.Lists()) {
      std::vector<float> out(3 * 48, NAN), lse(3, NAN);
      const float* qs[] = {q.data()};
      float *outs[] = {out.data()}, *lses[] = {lse.data()};
      const PagedAttentionArgs args{
          .kv = cache.kv(), .q_heads_per_kv_head = 3, .scale = zone.scale(), .q = qs, .out = outs, .lse = lses};
      ASSERT_TRUE(PagedAttention(machine_.ctx, args).ok());
      const ZoneOutput estimated = zone.Attend(machine_.ctx, q, pages, 0);
      MergeState(3, 48, out.data(), lse.data(), estimated.out.data(), estimated.lse.data());
      for (int h = 0; h < 3; ++h) {
        const auto query = test::Query(q, h, 64);
        const auto part = reference::Attend(cache.kv(), 0, 0, q.data() + h * 64, zone.scale());
        const test::ZoneWanted want = zone.Wanted(query, pages, 0);
        const double top = std::max(part.lse, want.exact.lse);
        const double a = std::exp(part.lse - top), b = std::exp(want.exact.lse - top);
        const double largest = std::max(part.largest_value, want.exact.largest_value);
        const double f32 = 4e-7 * (8 + part.top * 8) + 1e-6;
        ASSERT_NEAR(lse[h], top + std::log(a + b), want.lse_bound + f32);
        for (int t = 0; t < 48; ++t) {
          const double exact = (a * part.out[t] + b * want.exact.out[t]) / (a + b);
          const double moved = std::expm1(2 * want.lse_bound) * std::abs(part.out[t] - want.exact.out[t]);
          ASSERT_NEAR(out[h * 48 + t], exact, want.out_bound[t] + moved + f32 * largest) << pages.size();
        }
      }
    }
  }
}

TEST_P(Zone, ValuesThatAreConstantHugeOrTiny) {
  for (const float size : {6e4f, 1.0f, 1e-6f, 0.0f}) {
    for (const int bits : {2, 4}) {
      ZoneCase c{.name = "", .bits = bits, .p = 16, .dk = 16, .dv = 24, .heads = 2, .n_pages = 40};
      c.values = size;
      c.constant_rows = true;
      const ZonePages zone(machine_.ctx, c, 103);
      Rng rng(uint64_t{104});
      const std::vector<float> q = test::RandomVector(rng, 2 * 16, 3.0f);
      for (const auto& pages : zone.Lists()) ExpectNear(zone, q, pages, 0, zone.Attend(machine_.ctx, q, pages, 0));
    }
  }
}

// Only tokens of the zone count, whatever the others are.
TEST_P(Zone, NaNReachesOnlyTheZonesThatHoldIt) {
  ZonePages zone(machine_.ctx, {.name = "", .p = 8, .dk = 16, .dv = 8, .heads = 1, .n_pages = 3}, 105);
  const f16_t nan = 0x7e00;
  std::memcpy(zone.values.bytes.data() + zone.values.layout.page_bytes + 2 * 5, &nan, 2);  // lo of token 5 of page 1
  const std::vector<float> q(16, 0.5f);
  const int32_t without[] = {0, 2}, with[] = {0, 1};
  for (const float x : zone.Attend(machine_.ctx, q, without, 0).out) EXPECT_TRUE(std::isfinite(x));
  for (const float x : zone.Attend(machine_.ctx, q, with, 0).out) EXPECT_TRUE(std::isnan(x));
}

TEST(ZoneArguments, AreChecked) {
  Machine machine(1);
  const ZonePages zone(machine.ctx, {.name = "", .p = 8, .dk = 16, .dv = 8, .heads = 1, .n_pages = 3}, 107);
  const std::vector<float> q(16, 0.5f);
  float out[8], lse[1];
  const int32_t some[] = {0, 2}, down[] = {2, 1}, twice[] = {1, 1}, outside[] = {0, 3}, negative[] = {-1};
  const ZoneAttentionItem good = zone.Item(q.data(), some, out, lse);
  const auto run = [&](auto change_args, auto change_item) {
    ZoneAttentionItem item = good;
    change_item(item);
    const ZoneAttentionItem items[] = {item};
    ZoneAttentionArgs args = zone.Args(items, 0);
    change_args(args);
    return ZoneAttention(machine.ctx, args);
  };
  const auto args = [&](auto change) { return run(change, [](ZoneAttentionItem&) {}); };
  const auto item = [&](auto change) { return run([](ZoneAttentionArgs&) {}, change); };
  ASSERT_TRUE(item([](auto&) {}).ok());
  ASSERT_TRUE(args([](auto& a) { a.items = {}; }).ok());
  test::ExpectInvalid(args([](auto& a) { a.value_bits = 3; }), "3 bits per value");
  test::ExpectInvalid(args([](auto& a) { a.page_tokens = 12; }), "page of 12 tokens");
  test::ExpectInvalid(args([](auto& a) { a.head_dim_k = 20; }), "head dim 20");
  test::ExpectInvalid(args([](auto& a) { a.head_dim_v = 20; }), "head dim 20");
  test::ExpectInvalid(args([](auto& a) { a.n_q_heads = 0; }), "0 query heads");
  test::ExpectInvalid(args([](auto& a) { a.softcap = -1; }), "softcap -1");
  test::ExpectInvalid(args([](auto& a) { a.softcap = NAN; }), "softcap");
  test::ExpectInvalid(args([](auto& a) { a.scale = kInf; }), "scale inf");
  test::ExpectInvalid(args([](auto& a) { a.digest_type = static_cast<DigestType>(7); }), "type 7 unknown");
  test::ExpectInvalid(item([&](auto& i) { i.pages = down; }),
                      "zone_attention: item 0: page 1 at place 1 of the pages of the zone: they must ascend inside "
                      "0..2");
  test::ExpectInvalid(item([&](auto& i) { i.pages = twice; }), "page 1 at place 1");
  test::ExpectInvalid(item([&](auto& i) { i.pages = outside; }), "page 3 at place 1");
  test::ExpectInvalid(item([&](auto& i) { i.pages = negative; }), "page -1 at place 0");
  test::ExpectInvalid(item([](auto& i) { i.vectors = nullptr; }), "null vectors");
  test::ExpectInvalid(item([](auto& i) { i.values = nullptr; }), "null values");
  test::ExpectInvalid(item([](auto& i) { i.planes[0] = nullptr; }), "null planes");
  test::ExpectInvalid(item([](auto& i) { i.planes[1] = nullptr; }), "null planes");
  test::ExpectInvalid(item([](auto& i) { i.q = nullptr; }), "null q, out or lse");
  test::ExpectInvalid(item([](auto& i) { i.out = nullptr; }), "null q, out or lse");
  test::ExpectInvalid(item([](auto& i) { i.lse = nullptr; }), "null q, out or lse");
  EXPECT_TRUE(item([](auto& i) { i = {.n_pages = 0, .pages = {}, .q = i.q, .out = i.out, .lse = i.lse}; }).ok());
}

}  // namespace
}  // namespace arkvale
