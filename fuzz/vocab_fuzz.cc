// What libllama reads of a file that passed our checks: it must load or refuse the vocabulary, and the vocabulary must
// tokenise any text. `inspect` reads the same file.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "fuzz/gguf_mutator.h"
#include "model/gguf_check.h"
#include "model/inspect.h"
#include "text/tokenizer.h"

namespace arkvale {
namespace {

class MemoryFile {
 public:
  explicit MemoryFile(std::span<const std::byte> bytes) : fd_(memfd_create("model", 0)) {
    ARKVALE_CHECK(fd_ >= 0);
    ARKVALE_CHECK(write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  ~MemoryFile() { close(fd_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  const int fd_;
};

void Use(const Tokenizer& tokenizer) {
  for (const char* text : {"ab a\n word5 <0x41>", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80 <s></s>", "  1234  \t\r\n"}) {
    for (const bool special : {false, true}) {
      const auto ids = tokenizer.Encode(text, true, special);
      if (!ids.ok()) continue;
      for (const int32_t id : *ids) {
        ARKVALE_CHECK(id >= 0 && id < tokenizer.n_vocab());
        (void)tokenizer.Piece(id);
      }
      (void)tokenizer.Decode(*ids, special);
    }
  }
  std::vector<int32_t> all;
  for (int32_t id = 0; id < tokenizer.n_vocab() && id < 64; ++id) all.push_back(id);
  (void)tokenizer.Decode(all, true);
  (void)tokenizer.Decode(all, false);
}

}  // namespace
}  // namespace arkvale

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return arkvale::fuzz::MutateGguf(data, size, max_size, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace arkvale;
  const auto bytes = std::as_bytes(std::span(data, size));
  if (!CheckGguf(bytes, "file").ok()) return 0;
  const MemoryFile file(bytes);
  ARKVALE_CHECK(InspectModel(file.path()).ok());
  const auto tokenizer = Tokenizer::Load(file.path());
  if (tokenizer.ok()) Use(**tokenizer);
  return 0;
}
