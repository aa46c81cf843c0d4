// Builds and scores digests in memory of their own; what the tests of the digest ops share.
#pragma once

#include <algorithm>

#include "ops/attention_test_util.h"
#include "ops/digest_layout.h"

namespace arkvale::test {

// f32 values in memory of `dtype`, and back.
struct Stored {
  Stored(DType type, const std::vector<float>& values) : dtype(type), f32(values) {
    for (const float x : values) f16.push_back(F32ToF16(x));
  }
  const std::byte* data() const {
    return dtype == DType::kF16 ? reinterpret_cast<const std::byte*>(f16.data())
                                : reinterpret_cast<const std::byte*>(f32.data());
  }
  double at(int64_t i) const { return dtype == DType::kF16 ? F16ToF32(f16[i]) : f32[i]; }
  std::vector<double> Slice(int64_t from, int64_t n) const {
    std::vector<double> v;
    for (int64_t i = from; i < from + n; ++i) v.push_back(at(i));
    return v;
  }
  DType dtype;
  std::vector<float> f32;
  std::vector<f16_t> f16;
};

struct DigestShape {
  DigestKind kind = DigestKind::kCuboidMean;
  DigestType type = DigestType::kF16;
  int32_t p = 32;
  int32_t d = 64;
};

inline std::string Describe(const DigestShape& s) {
  constexpr const char* kTypes[] = {"f16", "f32", "q8"};
  return std::string(DigestName(s.kind)) + " " + kTypes[static_cast<int>(s.type)] + " p " + std::to_string(s.p) +
         " d " + std::to_string(s.d);
}

// Digests of consecutive pages of keys [n_pages, p, d].
struct Digests {
  Digests(const OpContext& ctx, const DigestShape& shape, const Stored& keys) : shape(shape) {
    const auto made = MakeDigestLayout(shape.kind, shape.type, shape.p, shape.d);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    layout = *made;
    n_pages = static_cast<int64_t>(keys.f32.size()) / (int64_t{shape.p} * shape.d);
    vectors.assign(n_pages * layout.vector_bytes, std::byte{0xff});
    for (auto& plane : planes) plane.assign(n_pages * layout.plane_bytes, std::byte{0xff});
    std::vector<DigestBuildItem> items;
    for (int64_t i = 0; i < n_pages; ++i) {
      DigestBuildItem item{keys.data() + i * shape.p * shape.d * DTypeBytes(keys.dtype),
                           vectors.data() + i * layout.vector_bytes};
      for (int plane = 0; plane < layout.n_planes; ++plane) {
        item.planes[plane] = planes[plane].data() + i * layout.plane_bytes;
      }
      items.push_back(item);
    }
    const Status status = DigestBuild(ctx, {shape.kind, keys.dtype, shape.type, shape.p, shape.d, items});
    EXPECT_TRUE(status.ok()) << status.ToString();
  }

  DigestScoreItem Item(const std::vector<float>& q, float* scores, std::span<const int32_t> pages = {}) const {
    return {vectors.data(), {planes[0].data(), planes[1].data()}, n_pages, q.data(), pages, scores};
  }
  DigestScoreArgs Args(int32_t n_q_heads, std::span<const DigestScoreItem> items) const {
    return {.kind = shape.kind,
            .type = shape.type,
            .page_tokens = shape.p,
            .head_dim = shape.d,
            .n_q_heads = n_q_heads,
            .items = items};
  }

  struct How {
    bool sum_heads = false;
    std::vector<int32_t> pages = {};
  };
  // q [heads, d] -> [heads (1 when summed), n_pages]; pages not asked for stay 7.
  std::vector<float> Score(const OpContext& ctx, const std::vector<float>& q, const How& how) const {
    const auto heads = static_cast<int32_t>(q.size() / shape.d), rows = how.sum_heads ? 1 : heads;
    const auto n_listed = static_cast<int64_t>(how.pages.size()), n = n_listed > 0 ? n_listed : n_pages;
    std::vector<float> scores(rows * n + 1, 7.0f);
    const DigestScoreItem items[] = {Item(q, scores.data(), how.pages)};
    DigestScoreArgs args = Args(heads, items);
    args.sum_heads = how.sum_heads;
    const Status status = DigestScore(ctx, args);
    EXPECT_TRUE(status.ok()) << status.ToString();
    EXPECT_EQ(scores.back(), 7.0f) << "written past the end";
    scores.pop_back();
    if (n_listed == 0) return scores;
    std::vector<float> by_page(rows * n_pages, 7.0f);
    for (int64_t i = 0; i < rows * n; ++i) by_page[i / n * n_pages + how.pages[i % n]] = scores[i];
    return by_page;
  }
  std::vector<float> Score(const OpContext& ctx, const std::vector<float>& q) const { return Score(ctx, q, How()); }

  // The vectors that scoring sees; q8 cuboids turned back into [b+ | b-].
  std::vector<double> Values(int64_t page) const {
    std::vector<float> v(DigestLength(shape.kind, shape.d));
    ReadDigestVectors(shape.kind, shape.type, shape.d, vectors.data() + page * layout.vector_bytes, v.data());
    std::vector<double> values(v.begin(), v.end());
    if (!IsCuboid(shape.kind) || shape.type != DigestType::kQ8) return values;
    for (int32_t t = 0; t < shape.d; ++t) {
      values[t] = double{v[t]} + v[shape.d + t];
      values[shape.d + t] = double{v[t]} - v[shape.d + t];
    }
    return values;
  }
  // Codes [p, d] of a page.
  std::vector<int> Codes(int64_t page) const {
    std::vector<int> codes;
    for (int32_t i = 0; i < shape.p; ++i) {
      for (int32_t t = 0; t < shape.d; ++t) {
        int code = 0;
        for (int plane = 0; plane < layout.n_planes; ++plane) {
          const auto byte = planes[plane][page * layout.plane_bytes + CodeByte(shape.p, i, t)];
          code = code * 2 + (std::to_integer<int>(byte) >> CodeBit(t) & 1);
        }
        codes.push_back(code);
      }
    }
    return codes;
  }

  DigestShape shape;
  DigestLayout layout;
  int64_t n_pages = 0;
  std::vector<std::byte> vectors, planes[2];
};

inline double Norm(const std::vector<double>& v) {
  double squares = 0;
  for (const double x : v) squares += x * x;
  return std::sqrt(squares);
}

// Head h of queries [heads, d].
inline std::vector<double> Query(const std::vector<float>& q, int64_t h, int64_t d) {
  return {q.begin() + h * d, q.begin() + (h + 1) * d};
}

}  // namespace arkvale::test
