// What arkvale reads of a GGUF file itself: parser, checks, config, weights. A file of any bytes gives a Status, and
// the checks let nothing pass that the readers behind them refuse.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "fuzz/gguf_mutator.h"
#include "model/config.h"
#include "model/gguf_check.h"
#include "model/gguf_view.h"
#include "model/weights.h"

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return arkvale::fuzz::MutateGguf(data, size, max_size, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace arkvale;
  const auto file = std::as_bytes(std::span(data, size));
  const Status checked = CheckGguf(file, "file");
  const auto view = GgufView::Parse(file, "file");
  if (!view.ok()) {
    ARKVALE_CHECK(!checked.ok());
    return 0;
  }
  const auto config = ReadConfig(*view);
  if (!config.ok()) return 0;
  const auto weights = BindWeights(*view, *config);
  if (checked.ok()) ARKVALE_CHECK(weights.ok());
  return 0;
}
