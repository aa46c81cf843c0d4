// GgufParser: fills a GgufView from bytes it does not trust. Only gguf_view.cc needs it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "arkvale/status.h"
#include "model/gguf_view.h"

namespace arkvale {

class GgufParser {
 public:
  explicit GgufParser(GgufView& view) : view_(view) {}
  Status Run();

 private:
  Status Header();
  Status KeyValue();
  Status Value(std::string_view key, GgufValue& value);
  Status TensorInfo();
  Status Extents();

  uint64_t left() const { return view_.file_.size() - at_; }
  std::string Where() const { return " at byte " + std::to_string(at_); }
  Status Truncated(const std::string& what) const;
  template <typename T>
  bool Read(T& out);
  // A length and that many bytes.
  bool ReadString(std::string_view& out);

  GgufView& view_;
  uint64_t at_ = 0;
  uint64_t n_values_ = 0;
  uint64_t n_tensors_ = 0;
  uint64_t alignment_ = 32;
};

}  // namespace arkvale
