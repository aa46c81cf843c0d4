#include "engine/memory_check.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace arkvale {

std::string ByteText(int64_t bytes) {
  constexpr auto kUnits = std::to_array<const char*>({"KiB", "MiB", "GiB", "TiB"});
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f %s", value, kUnits[unit]);
  return text.data();
}

int64_t ActivationBytes(const ModelConfig& config, int64_t n_rows) {
  const int64_t heads = int64_t{config.n_q_heads} * (config.head_dim_k + config.head_dim_v) +
                        int64_t{config.n_kv_heads} * (config.head_dim_k + config.head_dim_v);
  const int64_t ffn = std::max<int64_t>(config.d_ff, int64_t{config.n_experts_used} * config.d_ff_expert);
  return (n_rows * (int64_t{2} * config.d_model + heads + 2 * ffn) + config.n_vocab) * int64_t{sizeof(float)};
}

bool ShouldPackWeights(int64_t packed_weight_bytes, int64_t ram_bytes) {
  return packed_weight_bytes <= ram_bytes / 4 * 3;
}

int64_t DefaultHostLimit(int64_t packed_weight_bytes, int64_t ram_bytes) {
  return std::min(ram_bytes / 2, (ram_bytes - packed_weight_bytes) / 4 * 3);
}

Status CheckMemory(const MemoryNeed& need, const MemoryLimits& limits) {
  const std::string tokens = std::to_string(need.n_tokens) + " tokens (input and longest answer) need ";
  // In RAM every page is kept whatever the policy.
  const std::string remedy = "shorten the input or the answer (--ctx limits both)";
  if (need.kv_bytes > limits.host_limit_bytes) {
    return ResourceExhausted(tokens + ByteText(need.kv_bytes) + " of KV cache > limit " +
                             ByteText(limits.host_limit_bytes) + ": " + remedy +
                             ", or raise --kv-host-mem; no policy or budget lowers it");
  }
  const int64_t total = need.kv_bytes + need.activation_bytes;
  if (total + need.packed_weight_bytes > limits.ram_bytes) {
    const std::string taken =
        need.packed_weight_bytes > 0 ? " and they take " + ByteText(need.packed_weight_bytes) : "";
    return ResourceExhausted(tokens + ByteText(total) + " of RAM besides the weights, the machine has " +
                             ByteText(limits.ram_bytes) + taken + ": " + remedy);
  }
  return OkStatus();
}

}  // namespace arkvale
