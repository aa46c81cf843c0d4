#include <algorithm>

#include "bench/bench_util.h"
#include "ops/digest.h"
#include "ops/digest_cases_test_util.h"
#include "ops/reference_digest.h"

namespace arkvale::bench {
namespace {

using test::Digests;
using test::DigestShape;
using test::Stored;

struct Case {
  DigestShape shape;
  int32_t kv_heads, gqa;
  int64_t n_pages;  // per kv head
  bool sum_heads = false;
};

struct ModelKind {
  DigestKind kind;
  DigestType type;
  bool sum_heads = false;  // boxes of query heads that are averaged
};
constexpr ModelKind kModelKinds[] = {
    {DigestKind::kCuboidMean, DigestType::kF16}, {DigestKind::kCuboidMean, DigestType::kF16, true},
    {DigestKind::kCuboidMean, DigestType::kQ8},  {DigestKind::kCuboidMean, DigestType::kQ8, true},
    {DigestKind::kCode1, DigestType::kF16},      {DigestKind::kCode1, DigestType::kQ8},
    {DigestKind::kCode2, DigestType::kF16},      {DigestKind::kCode2, DigestType::kQ8},
};

// Random numbers are slow to make: pages from here on repeat the first ones, in memory of their own.
constexpr int64_t kDistinctPages = 64;

Stored DistinctKeys(Rng& rng, const DigestShape& shape, int64_t n_pages) {
  return {shape.type == DigestType::kF32 ? DType::kF32 : DType::kF16,
          test::RandomVector(rng, std::min(n_pages, kDistinctPages) * shape.p * shape.d, 3.0f)};
}

Digests LongDigests(const OpContext& ctx, const DigestShape& shape, const Stored& keys, int64_t n_pages) {
  Digests digests(ctx, shape, keys);
  digests.n_pages = n_pages;
  Repeat(digests.vectors, n_pages * digests.layout.vector_bytes);
  for (int i = 0; i < digests.layout.n_planes; ++i) Repeat(digests.planes[i], n_pages * digests.layout.plane_bytes);
  return digests;
}

// One rounding of the largest number, and as many for q8's sums of a centre and a half width.
double ValueBound(DigestType type, double largest) {
  switch (type) {
    case DigestType::kF16: return 0x1p-11 * 1.01 * (largest + 1e-3);
    case DigestType::kF32: return 0x1p-22 * 1.01 * (largest + 8);
    case DigestType::kQ8: break;
  }
  return 1.002 * largest / 127;
}

bool IsBuiltRight(benchmark::State& state, const Digests& got, const Stored& keys) {
  const DigestShape& s = got.shape;
  const int64_t page_size = int64_t{s.p} * s.d;
  const int64_t distinct = static_cast<int64_t>(keys.f32.size()) / page_size;
  for (const int64_t page : {int64_t{0}, got.n_pages - 1}) {
    const std::vector<double> page_keys = keys.Slice(page % distinct * page_size, page_size);
    const std::vector<double> want = reference::BuildDigest(s.kind, page_keys, s.p, s.d), values = got.Values(page);
    double largest = 0;
    for (const double v : want) largest = std::max(largest, std::abs(v));
    for (size_t i = 0; i < want.size(); ++i) {
      if (!Near(state, values[i], want[i], ValueBound(s.type, largest))) return false;
    }
    if (!IsCode(s.kind)) continue;
    const std::vector<int> codes = got.Codes(page), exact = reference::BuildCodes(s.kind, values, page_keys, s.d);
    double wrong = 0;  // f32 may put a key that lies on an edge into the next cell
    for (size_t i = 0; i < codes.size(); ++i) wrong += codes[i] == exact[i] ? 0 : 1;
    if (!Near(state, wrong, 0, 0.01 * static_cast<double>(page_size))) return false;
  }
  return true;
}

void RunBuild(benchmark::State& state, const Case& c) {
  Rng rng("bench/digest_build");
  const test::Machine machine(Threads());
  const int64_t n_pages = c.kv_heads * c.n_pages;
  const Stored keys = DistinctKeys(rng, c.shape, n_pages);
  Digests digests = LongDigests(machine.ctx, c.shape, keys, n_pages);
  const int64_t key_bytes = int64_t{c.shape.p} * c.shape.d * DTypeBytes(keys.dtype);
  std::vector<std::byte> key_pages(keys.data(), keys.data() + std::min(n_pages, kDistinctPages) * key_bytes);
  Repeat(key_pages, n_pages * key_bytes);
  for (auto* part : {&digests.vectors, &digests.planes[0], &digests.planes[1]}) {
    std::fill(part->begin(), part->end(), std::byte{0xff});
  }
  std::vector<DigestBuildItem> items;
  for (int64_t i = 0; i < n_pages; ++i) {
    DigestBuildItem item{key_pages.data() + i * key_bytes, digests.vectors.data() + i * digests.layout.vector_bytes};
    for (int plane = 0; plane < digests.layout.n_planes; ++plane) {
      item.planes[plane] = digests.planes[plane].data() + i * digests.layout.plane_bytes;
    }
    items.push_back(item);
  }
  const DigestBuildArgs args{c.shape.kind, keys.dtype, c.shape.type, c.shape.p, c.shape.d, items};
  if (!DigestBuild(machine.ctx, args).ok()) return state.SkipWithError("the op failed");
  if (!IsBuiltRight(state, digests, keys)) return;
  for (auto _ : state) {
    benchmark::DoNotOptimize(DigestBuild(machine.ctx, args).ok());
    benchmark::ClobberMemory();
  }
  Report(state, static_cast<double>(n_pages * (key_bytes + digests.layout.bytes())), 0);
}

struct Expected {
  double score, bound;
};

// One query head on one page, and the bound of the tests.
Expected ExpectedScore(const Digests& digests, int64_t page, const std::vector<double>& q) {
  const std::vector<double> v = digests.Values(page);
  const DigestKind kind = digests.shape.kind;
  if (IsCode(kind)) {
    return {reference::ScoreCodes(kind, v, digests.Codes(page), q), test::CodeScoreError(digests, page, q)};
  }
  return {reference::ScoreDigest(kind, v, q),
          0x1p-23 * (4 + std::sqrt(static_cast<double>(v.size()))) * test::Norm(q) * test::Norm(v)};
}

// The first and the last page of one kv head.
bool IsScoredRight(benchmark::State& state, const Case& c, const Digests& digests, const std::vector<float>& q,
                   const std::vector<float>& scores) {
  for (const int64_t page : {int64_t{0}, c.n_pages - 1}) {
    Expected sum{0, 0};
    for (int64_t h = 0; h < c.gqa; ++h) {
      const Expected want = ExpectedScore(digests, page, test::Query(q, h, c.shape.d));
      sum.score += want.score;
      sum.bound += 2 * want.bound;
      if (c.sum_heads) continue;
      if (!Near(state, scores[static_cast<size_t>(h * c.n_pages + page)], want.score, want.bound)) return false;
    }
    if (c.sum_heads && !Near(state, scores[static_cast<size_t>(page)], sum.score, sum.bound)) return false;
  }
  return true;
}

void RunScore(benchmark::State& state, const Case& c) {
  Rng rng("bench/digest_score");
  const test::Machine machine(Threads());
  const auto n_heads = static_cast<size_t>(c.kv_heads);
  std::vector<Digests> digests;
  std::vector<std::vector<float>> q, scores(n_heads);
  std::vector<DigestScoreItem> items;
  digests.reserve(n_heads);
  for (size_t h = 0; h < n_heads; ++h) {
    const Stored keys = DistinctKeys(rng, c.shape, c.n_pages);
    digests.push_back(LongDigests(machine.ctx, c.shape, keys, c.n_pages));
    q.push_back(test::RandomVector(rng, int64_t{c.gqa} * c.shape.d, 2.0f));
    scores[h].resize(static_cast<size_t>(c.n_pages * (c.sum_heads ? 1 : c.gqa)));
  }
  for (size_t h = 0; h < n_heads; ++h) items.push_back(digests[h].Item(q[h], scores[h].data()));
  DigestScoreArgs args = digests[0].Args(c.gqa, items);
  args.sum_heads = c.sum_heads;
  if (!DigestScore(machine.ctx, args).ok()) return state.SkipWithError("the op failed");
  for (const size_t h : {size_t{0}, n_heads - 1}) {
    if (!IsScoredRight(state, c, digests[h], q[h], scores[h])) return;
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(DigestScore(machine.ctx, args).ok());
    benchmark::ClobberMemory();
  }
  const DigestLayout& layout = digests[0].layout;
  const int64_t pages = c.kv_heads * c.n_pages;
  const int64_t queries = c.sum_heads ? 1 : c.gqa;
  // A multiplication and an addition for each number or bit that is read.
  const int64_t numbers = DigestLength(c.shape.kind, c.shape.d) + layout.n_planes * int64_t{c.shape.p} * c.shape.d;
  Report(state, static_cast<double>(pages) * static_cast<double>(layout.bytes() + queries * int64_t{sizeof(float)}),
         2.0 * static_cast<double>(pages * queries * numbers));
}

std::string KindName(const Case& c) {
  constexpr const char* kTypes[] = {"f16", "f32", "q8"};
  return std::string(DigestName(c.shape.kind)) + "_" + kTypes[static_cast<int>(c.shape.type)] +
         (c.sum_heads ? "_summed" : "");
}

void Register(const std::string& table, const Case& c) {
  const std::string name = table + "/" + KindName(c);
  benchmark::RegisterBenchmark(("digest_score/" + name).c_str(), RunScore, c)->UseRealTime();
  if (c.sum_heads) return;  // built alike
  benchmark::RegisterBenchmark(("digest_build/" + name).c_str(), RunBuild, c)->UseRealTime();
}

void RegisterTest(std::span<const test::DigestCase> cases, std::span<const DigestKind> kinds) {
  constexpr int64_t kPages = 13;
  for (const auto [p, d, heads] : cases) {
    const std::string table =
        "test/p" + std::to_string(p) + "_d" + std::to_string(d) + "_heads" + std::to_string(heads);
    for (const DigestType type : test::kDigestTypes) {
      for (const DigestKind kind : kinds) Register(table, {{kind, type, p, d}, 1, heads, kPages});
    }
  }
}

[[maybe_unused]] const bool kRegistered = [] {
  RegisterTest(test::kDigestShapes, test::kVectorKinds);
  RegisterTest(test::kCodeShapes, test::kCodeKinds);
  constexpr int32_t kPage = 32;
  for (const ModelHeads& m : kModelHeads) {
    for (const int64_t k_tokens : {8, 32, 128}) {
      const std::string table = std::string("model/") + m.name + "_" + std::to_string(k_tokens) + "k";
      for (const ModelKind& kind : kModelKinds) {
        Register(table, {.shape = {kind.kind, kind.type, kPage, m.head_dim},
                         .kv_heads = m.kv_heads,
                         .gqa = m.gqa,
                         .n_pages = k_tokens * 1024 / kPage,
                         .sum_heads = kind.sum_heads});
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace arkvale::bench
