#include "ops/digest_layout.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/f16.h"

namespace arkvale {
namespace {

f16_t LoadF16(const std::byte* p) {
  f16_t h;
  std::memcpy(&h, p, sizeof(h));
  return h;
}
void StoreF16(f16_t h, std::byte* p) { std::memcpy(p, &h, sizeof(h)); }

// `values` -> scale and int8.
void WriteQ8(const float* values, int64_t n, std::byte* scale, std::byte* elements) {
  float largest = 0;
  for (int64_t t = 0; t < n; ++t) largest = std::max(largest, std::abs(values[t]));
  f16_t half = F32ToF16(largest / 127);
  if (F16ToF32(half) * 127 < largest) ++half;  // rounded down: the next f16, so that no element leaves the range
  StoreF16(half, scale);
  const float step = F16ToF32(half);
  const float inverse = step > 0 ? 1 / step : 0;
  for (int64_t t = 0; t < n; ++t) {
    const float x = std::nearbyint(values[t] * inverse);
    elements[t] = static_cast<std::byte>(static_cast<int8_t>(std::clamp(x, -127.0f, 127.0f)));
  }
}

void ReadQ8(const std::byte* scale, const std::byte* elements, int64_t n, float* values) {
  const float step = F16ToF32(LoadF16(scale));
  for (int64_t t = 0; t < n; ++t) values[t] = step * static_cast<float>(static_cast<int8_t>(elements[t]));
}

}  // namespace

void WriteDigestVectors(DigestKind kind, DigestType type, int64_t head_dim, const float* values, void* vectors) {
  const int64_t length = DigestLength(kind, head_dim), second = length - head_dim;
  if (type == DigestType::kF32) {
    std::copy(values, values + length, static_cast<float*>(vectors));
  } else if (type == DigestType::kF16) {
    std::transform(values, values + length, static_cast<f16_t*>(vectors), F32ToF16);
  } else {
    auto* out = static_cast<std::byte*>(vectors);
    std::byte* elements = out + Q8HeaderBytes(kind);
    WriteQ8(values, head_dim, out, elements);
    if (second > 0 && !IsSphere(kind)) WriteQ8(values + head_dim, second, out + 2, elements + head_dim);
    if (IsSphere(kind)) StoreF16(F32ToF16(values[head_dim]), out + 2);
  }
}

void ReadDigestVectors(DigestKind kind, DigestType type, int64_t head_dim, const void* vectors, float* values) {
  const int64_t length = DigestLength(kind, head_dim), second = length - head_dim;
  if (type == DigestType::kF32) {
    const auto* in = static_cast<const float*>(vectors);
    std::copy(in, in + length, values);
  } else if (type == DigestType::kF16) {
    const auto* in = static_cast<const f16_t*>(vectors);
    std::transform(in, in + length, values, F16ToF32);
  } else {
    const auto* in = static_cast<const std::byte*>(vectors);
    const std::byte* elements = in + Q8HeaderBytes(kind);
    ReadQ8(in, elements, head_dim, values);
    if (second > 0 && !IsSphere(kind)) ReadQ8(in + 2, elements + head_dim, second, values + head_dim);
    if (IsSphere(kind)) values[head_dim] = F16ToF32(LoadF16(in + 2));
  }
}

}  // namespace arkvale
