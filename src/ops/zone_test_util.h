// Value codes in memory of their own, and how tests read them.
#pragma once

#include <vector>

#include "ops/digest_test_util.h"
#include "ops/reference_zone.h"
#include "ops/value_code_layout.h"

namespace arkvale::test {

// Value codes of consecutive pages of values [n_pages, p, d], f16 or f32.
struct CodedPages {
  CodedPages(const OpContext& ctx, int32_t bits, int32_t p, int32_t d, const Stored& values) : bits(bits), p(p), d(d) {
    const auto made = MakeValueCodeLayout(bits, p, d);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    layout = *made;
    n_pages = static_cast<int64_t>(values.f32.size()) / (int64_t{p} * d);
    bytes.assign(n_pages * layout.page_bytes, std::byte{0xff});
    std::vector<ValueCodeItem> items;
    for (int64_t i = 0; i < n_pages; ++i) {
      items.push_back({values.data() + i * p * d * static_cast<int64_t>(DTypeBytes(values.dtype)),
                       bytes.data() + i * layout.page_bytes});
    }
    const Status status = ValueCodesBuild(ctx, {values.dtype, bits, p, d, items});
    EXPECT_TRUE(status.ok()) << status.ToString();
  }

  reference::ValueCodes Read(int64_t page) const {
    const std::byte* const at = bytes.data() + page * layout.page_bytes;
    const auto half = [&](int64_t i) {
      f16_t h = 0;
      std::memcpy(&h, at + 2 * i, sizeof(h));
      return double{F16ToF32(h)};
    };
    reference::ValueCodes coded;
    for (int64_t token = 0; token < p; ++token) {
      coded.lo.push_back(half(token));
      coded.st.push_back(half(p + token));
      for (int64_t t = 0; t < d; ++t) {
        const int byte = std::to_integer<int>(at[ValueCodeByte(bits, p, d, token, t)]);
        coded.codes.push_back(byte >> ValueCodeShift(bits, token) & ((1 << bits) - 1));
      }
    }
    return coded;
  }

  int32_t bits, p, d;
  ValueCodeLayout layout;
  int64_t n_pages = 0;
  std::vector<std::byte> bytes;
};

}  // namespace arkvale::test
