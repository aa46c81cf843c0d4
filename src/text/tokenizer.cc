#include "text/tokenizer.h"

#include <llama.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <new>
#include <utility>

#include "base/bad_alloc.h"
#include "text/llama_log.h"
#include "text/utf8.h"

namespace arkvale {
namespace {

struct ModelDeleter {
  void operator()(llama_model* model) const { llama_model_free(model); }
};

// libllama counts bytes and tokens in int32_t, and adds to them on the way.
constexpr size_t kMaxTextBytes = std::numeric_limits<int32_t>::max() / 2;

// Gemma, 1.6 MB of English: libllama takes 7 s in one go, growing faster than the text, and 2.4 s in such blocks.
constexpr size_t kBlockBytes = 64 << 10;

// Whether a text cut between a newline and something else has the tokens of the whole: SentencePiece merges neighbours
// only into a token that spells both, so it is enough that no token has a newline before another character.
bool NewlinesSeparate(const llama_model* model, const llama_vocab* vocab) {
  char prefix[8] = "";
  llama_model_meta_val_str(model, "tokenizer.ggml.add_space_prefix", prefix, sizeof(prefix));
  if (llama_vocab_type(vocab) != LLAMA_VOCAB_TYPE_SPM || std::string_view(prefix) != "false") return false;
  for (int32_t id = 0; id < llama_vocab_n_tokens(vocab); ++id) {
    const std::string_view token = llama_vocab_get_text(vocab, id);
    const size_t newline = token.find('\n');
    if (newline != std::string_view::npos && token.find_first_not_of('\n', newline) != std::string_view::npos)
      return false;
  }
  return true;
}

// Length of the first block of `text`: up to the first such cut from kBlockBytes on, or all of it.
size_t BlockBytes(std::string_view text) {
  if (text.size() <= kBlockBytes) return text.size();
  const size_t newline = text.find('\n', kBlockBytes);
  return newline == std::string_view::npos ? text.size() : std::min(text.size(), text.find_first_not_of('\n', newline));
}

}  // namespace

struct Tokenizer::Impl {
  std::unique_ptr<llama_model, ModelDeleter> model;
  const llama_vocab* vocab = nullptr;
  int32_t n_vocab = 0;
  bool newlines_separate = false;
  ChatTemplate chat_template;

  // Appends the tokens of `text` (not empty) to `ids`.
  Status Append(std::string_view text, bool parse_special, std::vector<int32_t>& ids) const {
    const size_t before = ids.size();
    ids.resize(before + text.size() / 3 + 16);
    for (;;) {
      // BOS is ours to add: with add_special libllama might add EOS as well.
      const int32_t n = llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), ids.data() + before,
                                       static_cast<int32_t>(ids.size() - before), /*add_special=*/false, parse_special);
      if (n == std::numeric_limits<int32_t>::min()) {
        return InvalidArgument("the text has more than 2^31 tokens: shorten the input");
      }
      ids.resize(before + (n < 0 ? -n : n));
      if (n >= 0) return OkStatus();
    }
  }
};

Result<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& path) {
  InitLlama();
  const LlamaErrors errors;
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  params.n_gpu_layers = 0;
  auto impl = std::make_unique<Impl>();
  try {
    impl->model.reset(llama_model_load_from_file(path.c_str(), params));
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  } catch (const std::exception& e) {
    return Corrupt(path + ": libllama cannot read the vocabulary: " + e.what());
  }
  if (impl->model == nullptr) {
    // libllama catches its own exceptions and logs what they say.
    if (errors.Text().find("bad_alloc") != std::string::npos) return OutOfMemory();
    return Corrupt(path + ": libllama cannot read the vocabulary: " + errors.Text());
  }
  impl->vocab = llama_model_get_vocab(impl->model.get());
  impl->n_vocab = llama_vocab_n_tokens(impl->vocab);
  if (impl->n_vocab <= 0 || llama_vocab_type(impl->vocab) == LLAMA_VOCAB_TYPE_NONE) {
    return Corrupt(path + ": the file holds no vocabulary");
  }
  impl->newlines_separate = NewlinesSeparate(impl->model.get(), impl->vocab);
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer(std::move(impl)));
  tokenizer->SetChatTemplate();
  return tokenizer;
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

void Tokenizer::SetChatTemplate() {
  const char* source = llama_model_chat_template(impl_->model.get(), nullptr);
  if (source == nullptr) return;
  const auto name = [&](int32_t id) { return id < 0 ? std::string() : Decode({&id, 1}, /*special=*/true); };
  impl_->chat_template = {source, name(bos()), name(eos()), add_bos()};
}

Result<std::vector<int32_t>> Tokenizer::Encode(std::string_view text, bool add_bos, bool parse_special) const {
  if (text.size() > kMaxTextBytes) {
    return InvalidArgument("a text of " + std::to_string(text.size()) + " bytes is longer than " +
                           std::to_string(kMaxTextBytes) + ": shorten the input");
  }
  if (const size_t bad = FirstInvalidUtf8(text); bad != std::string_view::npos) {
    return InvalidArgument("invalid UTF-8 at byte " + std::to_string(bad));
  }
  std::vector<int32_t> ids;
  if (add_bos && this->add_bos()) ids.push_back(bos());
  try {
    while (!text.empty()) {
      const size_t block = impl_->newlines_separate && !parse_special ? BlockBytes(text) : text.size();
      ARKVALE_RETURN_IF_ERROR(impl_->Append(text.substr(0, block), parse_special, ids));
      text.remove_prefix(block);
    }
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  } catch (const std::exception& e) {
    return Internal(std::string("libllama cannot tokenise this text: ") + e.what());
  }
  return ids;
}

Result<std::vector<int32_t>> Tokenizer::EncodeSegments(std::span<const TextSegment> segments, bool add_bos) const {
  std::vector<int32_t> all;
  for (size_t i = 0; i < segments.size(); ++i) {
    ARKVALE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                             Encode(segments[i].text, add_bos && i == 0, segments[i].parse_special));
    all.insert(all.end(), ids.begin(), ids.end());
  }
  return all;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool special) const {
  std::vector<int32_t> known;
  known.reserve(ids.size());
  for (const int32_t id : ids) {
    if (id >= 0 && id < impl_->n_vocab) known.push_back(id);
  }
  if (known.empty()) return {};
  std::string text(known.size() * 4 + 16, '\0');
  for (;;) {
    const int32_t n = llama_detokenize(impl_->vocab, known.data(), static_cast<int32_t>(known.size()), text.data(),
                                       static_cast<int32_t>(text.size()), /*remove_special=*/!special,
                                       /*unparse_special=*/special);
    text.resize(n < 0 ? -n : n);
    if (n >= 0) return text;
  }
}

std::string Tokenizer::Piece(int32_t id) const {
  if (id < 0 || id >= impl_->n_vocab) return {};
  std::string piece(64, '\0');
  for (;;) {
    const int32_t n = llama_token_to_piece(impl_->vocab, id, piece.data(), static_cast<int32_t>(piece.size()),
                                           /*lstrip=*/0, /*special=*/false);
    piece.resize(n < 0 ? -n : n);
    if (n >= 0) return piece;
  }
}

int32_t Tokenizer::n_vocab() const { return impl_->n_vocab; }
int32_t Tokenizer::bos() const { return llama_vocab_bos(impl_->vocab); }
int32_t Tokenizer::eos() const { return llama_vocab_eos(impl_->vocab); }
bool Tokenizer::add_bos() const { return llama_vocab_get_add_bos(impl_->vocab) && bos() >= 0; }
bool Tokenizer::IsEndOfGeneration(int32_t id) const {
  return id >= 0 && id < impl_->n_vocab && llama_vocab_is_eog(impl_->vocab, id);
}
const ChatTemplate& Tokenizer::chat_template() const { return impl_->chat_template; }
const llama_vocab* Tokenizer::vocab() const { return impl_->vocab; }

}  // namespace arkvale
