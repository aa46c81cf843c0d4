#include "ops/dequantise.h"

#include <cstring>

#include "ggml.h"
#include "ops/arg_check.h"
#include "ops/packed_weight.h"

namespace arkvale {
namespace {

bool InRange(int32_t t) { return t >= 0 && t < GGML_TYPE_COUNT; }

const ggml_type_traits& Traits(int32_t t) { return *ggml_get_type_traits(static_cast<ggml_type>(t)); }

}  // namespace

bool CanDequantise(int32_t ggml_type) {
  if (!InRange(ggml_type)) return false;
  if (ggml_type == GGML_TYPE_F32) return true;
  const ggml_type_traits& traits = Traits(ggml_type);
  return traits.blck_size > 0 && traits.to_float != nullptr;
}

int64_t BlockElements(int32_t ggml_type) { return Traits(ggml_type).blck_size; }

int64_t TypeRowBytes(int32_t ggml_type, int64_t cols) {
  const ggml_type_traits& traits = Traits(ggml_type);
  return cols / traits.blck_size * static_cast<int64_t>(traits.type_size);
}

std::string TypeName(int32_t ggml_type) {
  const char* name = InRange(ggml_type) ? Traits(ggml_type).type_name : nullptr;
  return name != nullptr ? name : "ggml type " + std::to_string(ggml_type);
}

void Dequantise(int32_t ggml_type, const void* src, float* dst, int64_t n) {
  if (ggml_type == GGML_TYPE_F32) {
    std::memcpy(dst, src, n * sizeof(float));
  } else {
    Traits(ggml_type).to_float(src, dst, n);
  }
}

Status CheckWeight(const WeightView& weight) {
  const auto fail = [&weight](const std::string& why) {
    return InvalidArgument("weight " + ShapeOf(weight.rows, weight.cols) + " of " + TypeName(weight.ggml_type) + ": " +
                           why);
  };
  if (!CanDequantise(weight.ggml_type)) return fail("no kernel for this type");
  if (weight.empty() || weight.rows <= 0 || weight.cols <= 0) return fail("is empty");
  const int64_t block = BlockElements(weight.ggml_type);
  if (weight.cols % block != 0) return fail("columns are no multiple of the type's block of " + std::to_string(block));
  if (weight.packed) {
    const int64_t row_bytes = PackedBytes(weight) / (PackedGroups(weight) * kPackedRows);
    if (row_bytes == 0) return fail("cannot be packed");
    if (weight.row_bytes == row_bytes) return OkStatus();
    return fail("packed row_bytes " + std::to_string(weight.row_bytes) + " != " + std::to_string(row_bytes));
  }
  const int64_t row_bytes = TypeRowBytes(weight.ggml_type, weight.cols);
  if (weight.row_bytes < row_bytes) {
    return fail("row_bytes " + std::to_string(weight.row_bytes) + " < " + std::to_string(row_bytes));
  }
  return OkStatus();
}

}  // namespace arkvale
