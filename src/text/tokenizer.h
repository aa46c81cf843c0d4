// Tokenizer: the vocabulary of a GGUF file through libllama, loaded without weights.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arkvale/status.h"
#include "text/chat_template.h"

struct llama_vocab;

namespace arkvale {

// Immutable after Load: any number of threads may use one.
class Tokenizer {
 public:
  // `path` must have passed model/gguf_check: libllama aborts on some broken files.
  // Corrupt: libllama refuses the vocabulary (its own reason is quoted).
  static Result<std::unique_ptr<Tokenizer>> Load(const std::string& path);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // `add_bos` puts BOS first if the vocabulary asks for it (add_bos()); EOS is never added. `parse_special` turns the
  // names of special tokens into those tokens: for pieces of a chat template only, never for documents.
  // Bytes that a vocabulary has no token for are left out, as by every tokenizer of that vocabulary (SmolLM2: the
  // control characters 04 06 13 14 16 1d and the unassigned planes from U+40000). InvalidArgument: invalid UTF-8 (the
  // byte offset is quoted), text of more than 1 GiB.
  Result<std::vector<int32_t>> Encode(std::string_view text, bool add_bos, bool parse_special) const;
  // Each segment by itself, concatenated. An error names the segment's own byte offset.
  Result<std::vector<int32_t>> EncodeSegments(std::span<const TextSegment> segments, bool add_bos) const;

  // Text of the whole list. `special` writes special tokens by their names; otherwise they are left out. Not always
  // valid UTF-8, since tokens may cut characters. Ids outside the vocabulary are left out.
  std::string Decode(std::span<const int32_t> ids, bool special) const;
  // Bytes of one token, special ones empty; for TextStream.
  std::string Piece(int32_t id) const;

  int32_t n_vocab() const;
  int32_t bos() const;  // -1: none
  int32_t eos() const;  // -1: none
  bool add_bos() const;
  bool IsEndOfGeneration(int32_t id) const;
  // empty(): the model has none.
  const ChatTemplate& chat_template() const;
  // For this room; owned.
  const llama_vocab* vocab() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  void SetChatTemplate();
  std::unique_ptr<Impl> impl_;
};

}  // namespace arkvale
