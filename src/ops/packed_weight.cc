#include "ops/packed_weight.h"

#include <algorithm>
#include <cstring>

#include "ggml.h"

namespace arkvale {
namespace {

constexpr int64_t kBlock = 32;  // columns of one run of codes

// Sizes in bytes of 16 rows.
struct Layout {
  int64_t span_cols = 0;  // 0: cannot be packed
  int64_t header = 0;     // scales and offsets of a span
  int64_t codes = 0;      // of 32 columns

  int64_t span_bytes() const { return header + span_cols / kBlock * codes; }
};

constexpr int64_t kWords = kPackedRows * 4;  // one u32 per row
constexpr int64_t kHalfs = kPackedRows * 2;  // one f16 per row

Layout LayoutOf(int32_t ggml_type) {
  switch (ggml_type) {
    case GGML_TYPE_Q4_0: return {32, kHalfs, 4 * kWords};
    case GGML_TYPE_Q4_1: return {32, 2 * kHalfs, 4 * kWords};
    case GGML_TYPE_Q5_0: return {32, kHalfs, 5 * kWords};
    case GGML_TYPE_Q5_1: return {32, 2 * kHalfs, 5 * kWords};
    case GGML_TYPE_Q8_0: return {32, kHalfs, 8 * kWords};
    case GGML_TYPE_Q4_K: return {256, 2 * kHalfs + 16 * kPackedRows, 4 * kWords};
    case GGML_TYPE_Q5_K: return {256, 2 * kHalfs + 16 * kPackedRows, 5 * kWords};
    case GGML_TYPE_Q6_K: return {256, kHalfs + 16 * kPackedRows, 6 * kWords};
    default: return {};
  }
}

int64_t GroupBytes(const Layout& layout, int64_t cols) { return cols / layout.span_cols * layout.span_bytes(); }

uint32_t Load32(const uint8_t* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

uint64_t Load64(const uint8_t* p) {
  uint64_t v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

// Writes the codes of one row; `to` is that row's place in the group.
void Store(uint8_t* to, int64_t word, uint32_t v) { std::memcpy(to + word * kWords, &v, sizeof(v)); }

// The low `kBits` bits of the even bytes of v, one after the other from bit 0 up, and those of the odd ones from
// bit 16.
template <int kBits>
uint32_t Gather(uint64_t v) {
  constexpr uint64_t kMask = 0x0001000100010001u * ((1u << kBits) - 1);
  const auto close = [](uint64_t e) {
    constexpr int kStep = 16 - kBits;
    e |= e >> kStep;
    return static_cast<uint32_t>(e | e >> 2 * kStep) & ((1u << 4 * kBits) - 1);
  };
  return close(v & kMask) | close(v >> 8 & kMask) << 16;
}

// Bits of 32 columns -> even columns from bit 0 up, odd ones from bit 16.
uint32_t SplitEvenOdd(uint32_t v) {
  const auto even = [](uint32_t e) {
    e &= 0x55555555u;
    e = (e | e >> 1) & 0x33333333u;
    e = (e | e >> 2) & 0x0f0f0f0fu;
    e = (e | e >> 4) & 0x00ff00ffu;
    return (e | e >> 8) & 0xffffu;
  };
  return even(v) | even(v >> 1) << 16;
}

// Columns 0-15 are the low halves of 16 bytes, 16-31 the high ones.
void PackNibblesOfHalves(const uint8_t* src, uint8_t* to) {
  for (int i = 0; i < 2; ++i) {
    const uint64_t v = Load64(src + 8 * i);
    Store(to, i, Gather<4>(v));
    Store(to, 2 + i, Gather<4>(v >> 4));
  }
}

// 32 bytes whose bits from `shift` up are the low 4 bits of 32 columns.
void PackNibbles(const uint8_t* src, int shift, uint8_t* to) {
  for (int i = 0; i < 4; ++i) Store(to, i, Gather<4>(Load64(src + 8 * i) >> shift));
}

// Block of 32: f16 scale, [f16 offset], [32 fifth bits], 16 bytes of nibbles.
template <bool kOffset, bool kFifthBit>
void PackBlock(const uint8_t* src, uint8_t* span, int64_t row) {
  constexpr int64_t kHeads = kOffset ? 2 : 1;
  for (int64_t i = 0; i < kHeads; ++i) std::memcpy(span + i * kHalfs + row * 2, src + 2 * i, 2);
  src += 2 * kHeads;
  uint8_t* to = span + kHeads * kHalfs + row * 4;
  if constexpr (kFifthBit) {
    Store(to, 4, SplitEvenOdd(Load32(src)));
    src += 4;
  }
  PackNibblesOfHalves(src, to);
}

// Block of 32: f16 scale, 32 signed bytes.
void PackQ8(const uint8_t* src, uint8_t* span, int64_t row) {
  std::memcpy(span + row * 2, src, 2);
  for (int i = 0; i < 8; ++i) {
    const uint32_t v = Load32(src + 2 + 4 * i) ^ 0x80808080u;
    Store(span + kHalfs + row * 4, i, (v & 0xff0000ffu) | (v & 0xff00u) << 8 | (v >> 8 & 0xff00u));
  }
}

// Block of 256: f16 d, f16 dmin, 8 scales and 8 mins of 6 bits in 12 bytes, [fifth bits: 32 bytes, bit b is block b's],
// nibbles: block 2 b low and block 2 b + 1 high halves of 32 bytes.
template <bool kFifthBit>
void PackQ45K(const uint8_t* src, uint8_t* span, int64_t row) {
  std::memcpy(span + row * 2, src, 2);
  std::memcpy(span + kHalfs + row * 2, src + 2, 2);
  const uint8_t* packed = src + 4;
  uint8_t* scales = span + 2 * kHalfs + row;
  uint8_t* mins = scales + 8 * kPackedRows;
  for (int b = 0; b < 4; ++b) {
    scales[b * kPackedRows] = packed[b] & 63;
    mins[b * kPackedRows] = packed[b + 4] & 63;
    scales[(b + 4) * kPackedRows] = (packed[b + 8] & 15) | packed[b] >> 6 << 4;
    mins[(b + 4) * kPackedRows] = packed[b + 8] >> 4 | packed[b + 4] >> 6 << 4;
  }
  const uint8_t* fifth = src + 16;
  const uint8_t* nibbles = kFifthBit ? fifth + 32 : fifth;
  uint8_t* to = span + 2 * kHalfs + 16 * kPackedRows + row * 4;
  for (int b = 0; b < 8; ++b, to += (kFifthBit ? 5 : 4) * kWords) {
    PackNibbles(nibbles + b / 2 * 32, b % 2 * 4, to);
    if constexpr (kFifthBit) {
      uint32_t bits = 0;  // 4 columns from each half of a gathered word
      for (int i = 0; i < 4; ++i) bits |= Gather<1>(Load64(fifth + 8 * i) >> b) << 4 * i;
      Store(to, 4, bits);
    }
  }
}

// Block of 256: low 4 bits in 128 bytes, 2 high bits in 64, 16 signed scales, f16 d. Of each half of 128 columns, the
// 32 columns `part` have the nibbles of bytes 32 (part % 2) .. (high halves if part >= 2) and bits 2 part of 32 bytes.
void PackQ6K(const uint8_t* src, uint8_t* span, int64_t row) {
  std::memcpy(span + row * 2, src + 208, 2);
  for (int b = 0; b < 16; ++b) span[kHalfs + b * kPackedRows + row] = src[192 + b];
  uint8_t* to = span + kHalfs + 16 * kPackedRows + row * 4;
  for (int b = 0; b < 8; ++b, to += 6 * kWords) {
    const int half = b / 4, part = b % 4;
    PackNibbles(src + half * 64 + part % 2 * 32, part / 2 * 4, to);
    const uint8_t* high = src + 128 + half * 32;
    for (int w = 0; w < 2; ++w) {
      const uint64_t low8 = Load64(high + 16 * w) >> 2 * part, high8 = Load64(high + 16 * w + 8) >> 2 * part;
      Store(to, 4 + w, Gather<2>(low8) | Gather<2>(high8) << 8);
    }
  }
}

template <typename PackSpan>
void PackRows(const WeightView& w, int64_t first_row, int64_t n_rows, const Layout& layout, std::byte* dst,
              const PackSpan& pack_span) {
  const int64_t n_spans = w.cols / layout.span_cols;
  const auto* src = static_cast<const uint8_t*>(w.data) + first_row * w.row_bytes;
  const int64_t span_src = static_cast<int64_t>(ggml_row_size(static_cast<ggml_type>(w.ggml_type), layout.span_cols));
  auto* span = reinterpret_cast<uint8_t*>(dst);
  for (int64_t s = 0; s < n_spans; ++s, span += layout.span_bytes()) {
    for (int64_t r = 0; r < n_rows; ++r) pack_span(src + r * w.row_bytes + s * span_src, span, r);
  }
}

}  // namespace

int64_t PackedGroups(const WeightView& w) { return (w.rows + kPackedRows - 1) / kPackedRows; }

int64_t PackedBytes(const WeightView& w) {
  const Layout layout = LayoutOf(w.ggml_type);
  if (layout.span_cols == 0 || w.cols <= 0 || w.cols % layout.span_cols != 0) return 0;
  return PackedGroups(w) * GroupBytes(layout, w.cols);
}

void PackGroups(const WeightView& w, int64_t begin, int64_t end, std::byte* dst) {
  const Layout layout = LayoutOf(w.ggml_type);
  const int64_t group_bytes = GroupBytes(layout, w.cols);
  for (int64_t g = begin; g < end; ++g) {
    std::byte* to = dst + g * group_bytes;
    const int64_t first = g * kPackedRows, n = std::min(kPackedRows, w.rows - first);
    if (n < kPackedRows) std::memset(to, 0, group_bytes);
    switch (w.ggml_type) {
      case GGML_TYPE_Q4_0: PackRows(w, first, n, layout, to, PackBlock<false, false>); break;
      case GGML_TYPE_Q4_1: PackRows(w, first, n, layout, to, PackBlock<true, false>); break;
      case GGML_TYPE_Q5_0: PackRows(w, first, n, layout, to, PackBlock<false, true>); break;
      case GGML_TYPE_Q5_1: PackRows(w, first, n, layout, to, PackBlock<true, true>); break;
      case GGML_TYPE_Q8_0: PackRows(w, first, n, layout, to, PackQ8); break;
      case GGML_TYPE_Q4_K: PackRows(w, first, n, layout, to, PackQ45K<false>); break;
      case GGML_TYPE_Q5_K: PackRows(w, first, n, layout, to, PackQ45K<true>); break;
      case GGML_TYPE_Q6_K: PackRows(w, first, n, layout, to, PackQ6K); break;
      default: break;
    }
  }
}

WeightView PackedView(const WeightView& w, const std::byte* data) {
  const int64_t row_bytes = GroupBytes(LayoutOf(w.ggml_type), w.cols) / kPackedRows;
  return {data, w.ggml_type, w.rows, w.cols, row_bytes, /*packed=*/true};
}

}  // namespace arkvale
