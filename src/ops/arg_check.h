// Argument checks that the public functions of several ops share.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "arkvale/status.h"
#include "base/dtype.h"
#include "base/matrix_view.h"

namespace arkvale {

inline std::string ShapeOf(int64_t rows, int64_t cols) {
  std::string shape(1, '[');
  return shape.append(std::to_string(rows)).append(", ").append(std::to_string(cols)).append("]");
}

// Ok when `m` is [rows, cols] with rows that do not overlap and memory behind them. `who` names op and argument; it is
// no std::string because a step that succeeds allocates nothing.
inline Status CheckMatrix(const char* who, const MatrixView& m, int64_t rows, int64_t cols) {
  if (m.rows != rows || m.cols != cols) {
    return InvalidArgument(std::string(who) + " is " + ShapeOf(m.rows, m.cols) + ", expected " + ShapeOf(rows, cols));
  }
  if (rows > 0 && cols > 0 && m.data == nullptr) return InvalidArgument(std::string(who) + " has no data");
  if (rows > 1 && m.stride < cols) {
    return InvalidArgument(std::string(who) + ": row stride " + std::to_string(m.stride) + " < " +
                           std::to_string(cols) + " columns");
  }
  return OkStatus();
}

// As above for the argument that sets the shape: any [rows >= 0, cols > 0].
inline Status CheckMatrix(const char* who, const MatrixView& m) {
  if (m.rows < 0) return InvalidArgument(std::string(who) + " is " + ShapeOf(m.rows, m.cols));
  if (m.cols <= 0) return InvalidArgument(std::string(who) + " is " + ShapeOf(m.rows, m.cols) + ": no columns");
  return CheckMatrix(who, m, m.rows, m.cols);
}

// Ok when `dtype` is a type of rows that kernels read and head_dim a length that it can have. `what` has it: "keys".
inline Status CheckRowType(const char* op, const char* what, DType dtype, int64_t head_dim) {
  const auto wrong = [&](const std::string& why) {
    return InvalidArgument(std::string(op) + ": " + what + " of " + std::string(DTypeName(dtype)) + why);
  };
  if (dtype != DType::kF16 && dtype != DType::kF32 && !IsQuantised(dtype)) return wrong(": f16, f32, q8_0 or q4_0");
  if (IsQuantised(dtype) && head_dim % kQuantBlock != 0) {
    return wrong(" with head dim " + std::to_string(head_dim) + ", must be a multiple of " +
                 std::to_string(kQuantBlock));
  }
  return OkStatus();
}

inline Status WrongItem(const char* op, size_t item, const std::string& what) {
  return InvalidArgument(std::string(op) + ": item " + std::to_string(item) + ": " + what);
}

// Ok when the pages listed by item `item` of an op ascend inside 0..n_pages - 1. `what` they are: "pages to score".
inline Status CheckPageList(const char* op, size_t item, const char* what, std::span<const int32_t> pages,
                            int64_t n_pages) {
  for (size_t j = 0; j < pages.size(); ++j) {
    if (pages[j] < 0 || pages[j] >= n_pages || (j > 0 && pages[j] <= pages[j - 1])) {
      return WrongItem(op, item,
                       "page " + std::to_string(pages[j]) + " at place " + std::to_string(j) + " of the " + what +
                           ": they must ascend inside 0.." + std::to_string(n_pages - 1));
    }
  }
  return OkStatus();
}

}  // namespace arkvale
