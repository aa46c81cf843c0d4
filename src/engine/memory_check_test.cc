#include "engine/memory_check.h"

#include <gtest/gtest.h>

namespace arkvale {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

void ExpectRefused(const MemoryNeed& need, const MemoryLimits& limits, const std::string& words) {
  const Status status = CheckMemory(need, limits);
  EXPECT_EQ(status.kind(), StatusKind::kResourceExhausted);
  EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
}

TEST(MemoryCheck, KvAgainstItsLimit) {
  const MemoryLimits limits{.host_limit_bytes = 100 * kMiB, .ram_bytes = 1000 * kMiB};
  EXPECT_TRUE(CheckMemory({.n_tokens = 9, .kv_bytes = 100 * kMiB, .activation_bytes = 900 * kMiB}, limits).ok());
  ExpectRefused({.n_tokens = 9, .kv_bytes = 100 * kMiB + kMiB / 2}, limits,
                "9 tokens (input and longest answer) need 100.5 MiB of KV cache > limit 100.0 MiB: shorten");
}

TEST(MemoryCheck, KvAndActivationsAgainstTheMachine) {
  const MemoryLimits limits{.host_limit_bytes = 100 * kMiB, .ram_bytes = 64 * kMiB};
  ExpectRefused({.n_tokens = 9, .kv_bytes = 60 * kMiB, .activation_bytes = 5 * kMiB}, limits,
                "need 65.0 MiB of RAM besides the weights, the machine has 64.0 MiB");
  EXPECT_TRUE(CheckMemory({.n_tokens = 9, .kv_bytes = 60 * kMiB, .activation_bytes = 4 * kMiB}, limits).ok());
}

TEST(MemoryCheck, PackedWeightsTakeTheirShareOfTheMachine) {
  const MemoryLimits limits{.host_limit_bytes = 100 * kMiB, .ram_bytes = 64 * kMiB};
  MemoryNeed need{.n_tokens = 9, .kv_bytes = 20 * kMiB, .activation_bytes = 4 * kMiB, .packed_weight_bytes = 40 * kMiB};
  EXPECT_TRUE(CheckMemory(need, limits).ok());
  need.packed_weight_bytes += kMiB;
  ExpectRefused(need, limits,
                "need 24.0 MiB of RAM besides the weights, the machine has 64.0 MiB and they take 41.0 MiB: shorten");
}

TEST(MemoryCheck, WeightsArePackedWhereAQuarterOfTheMachineIsLeft) {
  EXPECT_TRUE(ShouldPackWeights(0, 64 * kMiB));
  EXPECT_TRUE(ShouldPackWeights(48 * kMiB, 64 * kMiB));
  EXPECT_FALSE(ShouldPackWeights(48 * kMiB + 1, 64 * kMiB));
}

TEST(MemoryCheck, DefaultLimitLeavesRoomForPackedWeights) {
  EXPECT_EQ(DefaultHostLimit(0, 64 * kMiB), 32 * kMiB);
  EXPECT_EQ(DefaultHostLimit(16 * kMiB, 64 * kMiB), 32 * kMiB);
  EXPECT_EQ(DefaultHostLimit(48 * kMiB, 64 * kMiB), 12 * kMiB);
}

TEST(MemoryCheck, ActivationsGrowWithRows) {
  const ModelConfig config{
      .n_vocab = 1000, .d_model = 16, .d_ff = 64, .n_q_heads = 4, .n_kv_heads = 2, .head_dim_k = 8, .head_dim_v = 8};
  EXPECT_EQ(ActivationBytes(config, 0), 4000);
  EXPECT_EQ(ActivationBytes(config, 10) - ActivationBytes(config, 0), 10 * 4 * (2 * 16 + 4 * 16 + 2 * 16 + 2 * 64));
}

TEST(MemoryCheck, ByteTextPicksItsUnit) {
  EXPECT_EQ(ByteText(512), "0.5 KiB");
  EXPECT_EQ(ByteText(1536 * kMiB), "1.5 GiB");
  EXPECT_EQ(ByteText(int64_t{4096} << 40), "4096.0 TiB");
}

}  // namespace
}  // namespace arkvale
