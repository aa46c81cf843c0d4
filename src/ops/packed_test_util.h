// What the tests of packed weights share.
#pragma once

#include <algorithm>
#include <vector>

#include "ops/packed_weight.h"
#include "ops/test_util.h"

namespace arkvale::test {

inline constexpr int32_t kPackedTypes[] = {GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1,
                                           GGML_TYPE_Q8_0, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K};

// An owned packed copy of a weight.
class Packed {
 public:
  explicit Packed(const WeightView& w) : data_(PackedBytes(w), std::byte{0xff}) {
    PackGroups(w, 0, PackedGroups(w), data_.data());
    view_ = PackedView(w, data_.data());
  }
  Packed(const Packed&) = delete;
  Packed& operator=(const Packed&) = delete;
  const WeightView& view() const { return view_; }

 private:
  std::vector<std::byte> data_;
  WeightView view_;
};

}  // namespace arkvale::test
