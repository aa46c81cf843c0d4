// Value codes (algorithms 4.4b): the V of each token in 2 or 4 bits per channel, between a floor and a step of its own.
// What attention reads of the pages that it does not read exactly (ops/zone_attention.h).
#pragma once

#include <cstdint>
#include <span>

#include "arkvale/status.h"
#include "base/dtype.h"
#include "ops/context.h"

namespace arkvale {

// Of a token with values v [head_dim]:
//   lo = f16(min v)     st = f16((max v - min v) / (2^bits - 1))     x_t = round((v_t - lo) / st) in 0..2^bits - 1
// and v_t is read as lo + st x_t. x is taken against the rounded lo and st; where st is 0, so is x. v_t is off by at
// most st / 2 and what the roundings of lo and st move the ends by. Roundings are f16's: a range below (2^bits - 1)
// 2^-25 has st = 0. Finite values beyond +-65504, which f32 can hold, count as lo or st of that size: the nearest that
// they can express. A token with an infinity or a NaN reads as NaN throughout.
struct ValueCodeLayout {
  int64_t page_bytes = 0;  // of one page and kv head: lo and st of its tokens, then their codes, head_dim rounded up to
                           // 32; the order is the op's own (value_code_layout.h)
};

// InvalidArgument for bits other than 2 and 4, or page_tokens or head_dim not a multiple of 8.
Result<ValueCodeLayout> MakeValueCodeLayout(int32_t bits, int32_t page_tokens, int32_t head_dim);

// One page of one kv head to code.
struct ValueCodeItem {
  const void* values = nullptr;  // [page_tokens, head_dim] of `value_dtype`, rows contiguous
  void* codes = nullptr;         // page_bytes
};

struct ValueCodeArgs {
  DType value_dtype = DType::kF16;  // f16, f32, q8_0 or q4_0 (the last two: head_dim a multiple of 32)
  int32_t bits = 2;
  int32_t page_tokens = 32;
  int32_t head_dim = 0;
  std::span<const ValueCodeItem> items;
};

// Computes in f32. The codes of a token depend on that token only.
Status ValueCodesBuild(const OpContext& ctx, const ValueCodeArgs& args);

}  // namespace arkvale
