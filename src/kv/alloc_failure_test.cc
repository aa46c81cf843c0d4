// Memory fails at every allocation of a scripted life of three sequences, one at a time: each call says
// ResourceExhausted, nothing leaks, and every sequence goes on as if nothing had happened.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "base/alloc_failure_test_util.h"
#include "base/bad_alloc.h"
#include "device/fake_device.h"
#include "kv/cache.h"
#include "kv/cache_test_util.h"
#include "kv/hot_bytes.h"

namespace arkvale {
namespace {

using testing::FailAllocation;
using Rows = std::vector<std::vector<float>>;  // out of one batch, by layer

KvShape SmallShape() {
  const KvLayerShape full{.n_q_heads = 4, .n_kv_heads = 2, .head_dim_k = 8, .head_dim_v = 8, .scale = 0.35f};
  KvLayerShape sliding = full;
  sliding.window = 20;
  return {{full, full, sliding}};
}

constexpr KvPolicyKind kTokenPolicies[] = {KvPolicyKind::kStreaming, KvPolicyKind::kH2o,       KvPolicyKind::kTova,
                                           KvPolicyKind::kSnapkv,    KvPolicyKind::kPyramidkv, KvPolicyKind::kXkv};

KvOptions SmallOptions(bool moves) {
  KvOptions o = TestOptions(40);
  o.digest = DigestKind::kCode2;
  o.rank_every = 2;
  o.audit_every = 2;
  // Every place is chosen anew, so that residency before a step does not matter; where bytes move the result is dense.
  o.topk.kind = TopkRule::Kind::kAuto;
  o.attend = moves ? AttendKind::kAll : AttendKind::kResident;
  o.zone_tokens = moves ? 0 : 32;
  return o;
}

// One cache and its life. A failed call is repeated, as its caller would do with more memory.
class Life {
 public:
  Life(bool moves, int threads, int64_t fail_at, KvPolicyKind policy = KvPolicyKind::kArkvale)
      : moves_(moves), policy_(policy), rig_(SmallShape(), threads), fail_at_(fail_at) {}

  // Many failures, at random, in the steps of one sequence.
  void Walk(int n_steps) {
    const OpContext ctx = rig_.ctx();
    cache_ = std::move(*KvCache::Make({.shape = rig_.shape, .tier = {moves_ ? &device_ : nullptr}}, ctx));
    KvOptions o = SmallOptions(moves_);
    o.attend = AttendKind::kResident;  // nothing streams, so that recalls are most of what allocates
    o.combine = CombineKind::kMean;
    o.audit_every = 0;
    const SeqId seq = *cache_->Create(o);
    Batch({{seq, 1, 70, KvPhase::kPrefillLast}});
    Rng rng("alloc-failure/walk");
    for (int i = 0; i < n_steps; ++i) {
      fail_at_ = 1 + static_cast<int64_t>(rng.Below(3));
      Batch({{seq, 1}});
    }
    fail_at_ = 0;
    EXPECT_GT(cache_->stats(seq)->counters.recalled, 100);
    Batch({{seq, 1, 20, KvPhase::kPrefill}});
    cache_.reset();
  }

  void Run() {
    KvOptions o = SmallOptions(moves_), first = o;
    o.policy = policy_;
    // What drops tokens begins as a fork of a sequence that drops none.
    const bool drops = !KeepsAllTokens(policy_);
    first.policy = drops ? KvPolicyKind::kFull : policy_;
    first.collect = {.last_queries = 8, .column_sums = drops};
    constexpr int64_t kBlock = 64 * 2 * (8 + 8) * 2;
    constexpr int32_t kBlocks = 8;  // per layer
    const KvCache::Config config{.shape = rig_.shape,
                                 .tier = {moves_ ? &device_ : nullptr},
                                 .host_limit_bytes = 3 * kBlocks * kBlock,
                                 .hot_limit_bytes = 3 * HotBytes(rig_.shape, o, 64 * kBlocks, !moves_)};
    const OpContext ctx = rig_.ctx();
    // The copy of the arguments may fail too.
    const auto make = [&] { return CatchBadAlloc([&] { return KvCache::Make(config, ctx); }); };
    cache_ = std::move(*Repeat(make));
    const SeqId a = *Repeat([&] { return cache_->Create(first); });
    Batch({{a, 1, 50, KvPhase::kPrefill}});
    Batch({{a, 1, 15, KvPhase::kPrefillLast}});
    Batch({{a, 1}});
    const SeqId b = *Repeat([&] { return cache_->Fork(a, o); });
    const SeqId c = *Repeat([&] { return drops ? cache_->Fork(b, o) : cache_->ForkAt(a, o, 60); });
    Batch({{a, 1}, {b, 2}, {c, 3, 12, KvPhase::kPrefillLast}});
    Batch({{b, 2}}, /*commit=*/false);
    for (int i = 0; i < 3; ++i) Batch({{a, 1}, {b, 2}, {c, 3}});
    // Where bytes move this needs every slot there is: one that a failure kept would be missing.
    Batch({{a, 1, 10, KvPhase::kPrefill}, {b, 2, 10, KvPhase::kPrefill}, {c, 3, 10, KvPhase::kPrefill}});
    for (const SeqId seq : {a, b, c}) EXPECT_TRUE(cache_->Drop(seq).ok());
    // Nothing leaked: the whole host limit can be had again, and the hot one.
    const SeqId whole = *Repeat([&] { return cache_->Create(o); });
    const KvBatchItem item{whole, 64 * kBlocks, KvPhase::kPrefill};
    EXPECT_TRUE(Repeat([&] { return cache_->Begin({&item, 1}); }).ok());
    cache_->Abort();
    cache_.reset();
    EXPECT_EQ(device_.allocated_bytes(), 0);
  }

  int failures() const { return failures_; }
  std::vector<Rows> outputs;

 private:
  // Runs `call` with the failure armed where it is still to come.
  template <typename Call>
  std::invoke_result_t<const Call&> Armed(const Call& call) {
    const FailAllocation armed(fail_at_ > 0 ? fail_at_ : FailAllocation::kNever);
    auto result = call();
    if (fail_at_ > 0) fail_at_ = FailAllocation::failed() ? 0 : fail_at_ - FailAllocation::count();
    return result;
  }
  static Status StatusOf(const Status& status) { return status; }
  template <typename T>
  static Status StatusOf(const Result<T>& result) {
    return result.status();
  }
  template <typename Call>
  std::invoke_result_t<const Call&> Repeat(const Call& call) {
    auto result = Armed(call);
    if (StatusOf(result).ok()) return result;
    EXPECT_EQ(StatusOf(result).kind(), StatusKind::kResourceExhausted) << StatusOf(result).ToString();
    ++failures_;
    return call();
  }

  void Batch(const std::vector<TestItem>& items, bool commit = true) {
    std::vector<KvBatchItem> batch;
    std::vector<std::pair<int, int64_t>> rows;  // seed, position
    for (const TestItem& item : items) {
      batch.push_back({item.seq, item.n, item.phase});
      for (int32_t i = 0; i < item.n; ++i) rows.push_back({item.seed, cache_->n_tokens(item.seq) + i});
    }
    const std::vector<int64_t> before = Lengths(batch);
    Rows out;
    Status status = Try(batch, rows, out, commit);
    EXPECT_EQ(Lengths(batch), status.ok() && commit ? After(batch, before) : before);
    if (!status.ok()) {
      EXPECT_EQ(status.kind(), StatusKind::kResourceExhausted) << status.ToString();
      ++failures_;
      status = Try(batch, rows, out, commit);
      EXPECT_TRUE(status.ok()) << status.ToString();
    }
    outputs.push_back(out);
  }
  std::vector<int64_t> Lengths(const std::vector<KvBatchItem>& batch) const {
    std::vector<int64_t> lengths;
    for (const KvBatchItem& item : batch) lengths.push_back(cache_->n_tokens(item.seq));
    return lengths;
  }
  static std::vector<int64_t> After(const std::vector<KvBatchItem>& batch, std::vector<int64_t> lengths) {
    for (size_t i = 0; i < batch.size(); ++i) lengths[i] += batch[i].n_new;
    return lengths;
  }

  Status Try(const std::vector<KvBatchItem>& batch, const std::vector<std::pair<int, int64_t>>& rows, Rows& out,
             bool commit) {
    out.clear();
    ARKVALE_RETURN_IF_ERROR(Armed([&] { return cache_->Begin(batch); }));
    const auto n = static_cast<int64_t>(rows.size());
    for (int32_t l = 0; l < rig_.shape.n_layers(); ++l) {
      const int64_t q_width = 4 * 8, kv_width = 2 * 8;
      std::vector<float> q = Matrix("q", l, rows, q_width), k = Matrix("k", l, rows, kv_width),
                         v = Matrix("v", l, rows, kv_width), o(n * q_width);
      Status status = Armed([&] {
        return cache_->Append(l, {k.data(), n, kv_width, kv_width}, {v.data(), n, kv_width, kv_width});
      });
      if (status.ok()) {
        status = Armed([&] {
          return cache_->Attend(l, {q.data(), n, q_width, q_width}, {o.data(), n, q_width, q_width});
        });
      }
      if (!status.ok()) {
        End([&] { cache_->Abort(); });
        return status;
      }
      out.push_back(o);
    }
    End([&] {
      if (commit) {
        EXPECT_TRUE(cache_->Commit().ok());
      } else {
        cache_->Abort();
      }
    });
    return OkStatus();
  }
  // The end of a batch allocates nothing; copies of a tier that moves bytes are queued by its device.
  template <typename Call>
  void End(const Call& call) {
    const FailAllocation count;
    call();
    if (!moves_) EXPECT_EQ(FailAllocation::count(), 0);
  }

  static std::vector<float> Matrix(const char* what, int32_t layer, const std::vector<std::pair<int, int64_t>>& rows,
                                   int64_t width) {
    static std::map<std::tuple<std::string, int, int32_t, int64_t>, std::vector<float>> known;
    std::vector<float> data;
    for (const auto& [seed, position] : rows) {
      auto& row = known[{what, seed, layer, position}];
      if (row.empty()) row = CacheTestRig::Values(what, seed, layer, position, static_cast<int>(width));
      data.insert(data.end(), row.begin(), row.end());
    }
    return data;
  }

  const bool moves_;
  const KvPolicyKind policy_;
  CacheTestRig rig_;
  FakeDevice device_;
  std::unique_ptr<KvCache> cache_;
  int64_t fail_at_;  // allocations to come until the failing one; 0 = it has been, or none shall
  int failures_ = 0;
};

double Difference(const std::vector<Rows>& a, const std::vector<Rows>& b) {
  double worst = a.size() == b.size() ? 0 : 1e9;
  for (size_t i = 0; i < a.size() && worst < 1e9; ++i) {
    for (size_t l = 0; l < a[i].size(); ++l) {
      for (size_t x = 0; x < a[i][l].size(); ++x) {
        const double diff = std::abs(double{a[i][l][x]} - b[i][l][x]);
        if (!(diff <= worst)) worst = diff;
      }
    }
  }
  return worst;
}

// Returns how many allocations there were to fail.
int64_t FailEach(bool moves, int threads, int64_t stride, KvPolicyKind policy = KvPolicyKind::kArkvale) {
  Life undisturbed(moves, threads, 0, policy);
  undisturbed.Run();
  for (int64_t n = 1;; n += stride) {
    SCOPED_TRACE("allocation " + std::to_string(n));
    Life life(moves, threads, n, policy);
    life.Run();
    if (life.failures() == 0) return n;
    if (moves) {
      EXPECT_LT(Difference(life.outputs, undisturbed.outputs), 2e-5);  // joined from other partial results
    } else {
      EXPECT_EQ(life.outputs, undisturbed.outputs);
    }
    if (::testing::Test::HasFailure()) return n;
  }
}

TEST(AllocFailure, EveryAllocationWhereRamIsReadInPlace) { EXPECT_GT(FailEach(false, 1, 1), 100); }
TEST(AllocFailure, EveryAllocationUnderPoliciesThatDropTokens) {
  for (const KvPolicyKind policy : kTokenPolicies) {
    EXPECT_GT(FailEach(false, 1, 1, policy), 80) << KvPolicyName(policy);
  }
}
TEST(AllocFailure, SomeAllocationsWithTwoThreads) { EXPECT_GT(FailEach(false, 2, 13), 100); }
TEST(AllocFailure, EveryAllocationWhereBytesMove) { EXPECT_GT(FailEach(true, 1, 1), 100); }

// Where bytes move every step queues copies. A slot that a failed recall kept would be missing soon.
TEST(AllocFailure, ManyFailuresInARow) {
  Life life(/*moves=*/true, 1, 0);
  life.Walk(400);
  EXPECT_GT(life.failures(), 20);
}

// Allocations of 100 decode steps that open and fill pages and take blocks, all inside the room of the vectors behind
// them: what grows with the tokens (lists of blocks, their reference counts in the pool, tables, digests, scores) grows
// by a quarter at a time (kv/grow.h), and the warm-up has passed the first growth of each.
int64_t AllocationsOfSteps(const KvOptions& options, int n_sequences) {
  constexpr int32_t kPrompt = 1000;
  constexpr int kWarmUp = 40, kSteps = 100;
  CacheTestRig rig(SmallShape(), 1);  // which thread meets its largest task when is nobody's choice
  const auto cache = rig.Make();
  std::vector<KvBatchItem> items;
  const int64_t width = 4 * 8, kv_width = 2 * 8;
  Rng rng("steady-steps");
  std::vector<float> q(kPrompt * width), k(kPrompt * kv_width), out(kPrompt * width);
  for (float& x : k) x = rng.Uniform(-1, 1);
  const auto run = [&](std::span<const KvBatchItem> batch, int64_t n) {
    for (float& x : std::span(q).first(n * width)) x = rng.Uniform(-2, 2);
    Status status = cache->Begin(batch);
    for (int32_t l = 0; status.ok() && l < rig.shape.n_layers(); ++l) {
      const MatrixView rows{k.data(), n, kv_width, kv_width};
      status = cache->Append(l, rows, rows);
      if (status.ok()) status = cache->Attend(l, {q.data(), n, width, width}, {out.data(), n, width, width});
    }
    if (status.ok()) status = cache->Commit();
    EXPECT_TRUE(status.ok()) << status.ToString();
  };
  for (int i = 0; i < n_sequences; ++i) {
    const KvBatchItem prompt{*cache->Create(options), kPrompt, KvPhase::kPrefillLast};
    run({&prompt, 1}, kPrompt);
    items.push_back({prompt.seq, 1, KvPhase::kStep});
  }
  for (int i = 0; i < kWarmUp; ++i) run(items, n_sequences);
  const FailAllocation count_only;
  for (int i = 0; i < kSteps; ++i) run(items, n_sequences);
  return FailAllocation::count();
}

TEST(SteadySteps, AllocateNothing) {
  KvOptions full = TestOptions(0), arkvale = TestOptions(64), quest = TestOptions(64), code = SmallOptions(false);
  full.policy = KvPolicyKind::kFull;
  quest.policy = KvPolicyKind::kQuest;
  code.audit_every = 0;
  code.budget_tokens = 112;  // a shortlist that does not grow yet
  for (const int n : {1, 2}) {
    EXPECT_EQ(AllocationsOfSteps(full, n), 0) << n;
    EXPECT_EQ(AllocationsOfSteps(arkvale, n), 0) << n;
    EXPECT_EQ(AllocationsOfSteps(quest, n), 0) << n;
    code.zone_tokens = 32;
    EXPECT_EQ(AllocationsOfSteps(code, n), 0) << n;
    code.zone_tokens = kZoneAll;  // reads scores that estimates leave
    EXPECT_EQ(AllocationsOfSteps(code, n), 0) << n;
    for (const KvPolicyKind policy : kTokenPolicies) {
      KvOptions o = TestOptions(64);
      o.policy = policy;
      EXPECT_EQ(AllocationsOfSteps(o, n), 0) << n << " " << KvPolicyName(policy);
    }
  }
}

}  // namespace
}  // namespace arkvale
