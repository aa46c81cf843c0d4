#include "model/gguf_check.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "model/config.h"
#include "model/gguf_view.h"
#include "model/model_file.h"
#include "model/weights.h"

namespace arkvale {

namespace {

constexpr size_t kMaxTokens = 1u << 24;
constexpr size_t kMaxTokenBytes = 1u << 20;
constexpr int32_t kTokenTypeByte = 6;

constexpr std::string_view kStringKeys[] = {
    "general.architecture", "general.name", "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.chat_template",
};
constexpr std::string_view kBoolKeys[] = {
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_eos_token",
    "tokenizer.ggml.add_sep_token",
    "tokenizer.ggml.add_space_prefix",
    "tokenizer.ggml.remove_extra_whitespaces",
    "tokenizer.ggml.normalizer.lowercase",
    "tokenizer.ggml.normalizer.strip_accents",
};
constexpr std::string_view kU32Keys[] = {
    "general.file_type",
    "general.quantization_version",
    "tokenizer.ggml.token_type_count",
};
constexpr std::string_view kTokenIdKeys[] = {
    "bos",     "eos",     "eot",     "eom",     "unknown", "seperator", "padding", "mask",   "fim_pre",
    "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep", "prefix",    "suffix",  "middle", "cls",
};

// The word libllama makes of a token: its reader ends strings at a zero byte.
std::string_view CString(std::string_view s) { return s.substr(0, s.find('\0')); }

bool IsByteToken(std::string_view word) {
  const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f'); };
  return word.size() == 6 && word.starts_with("<0x") && hex(word[3]) && hex(word[4]) && word[5] == '>';
}

std::string ByteToken(int byte) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  return std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">";
}

Status CheckKeyTypes(const GgufView& file) {
  for (const auto key : kStringKeys) ARKVALE_RETURN_IF_ERROR(file.String(key).status());
  for (const auto key : kBoolKeys) ARKVALE_RETURN_IF_ERROR(file.Bool(key).status());
  for (const auto key : kU32Keys) ARKVALE_RETURN_IF_ERROR(file.U32(key).status());
  // libllama opens the other parts by itself: they must be checked as well (model_file.h).
  ARKVALE_ASSIGN_OR_RETURN(const auto n_parts, file.U16("split.count"));
  if (n_parts.value_or(1) > 1 && *n_parts != file.n_parts()) {
    return InvalidArgument(file.name() + ": " + std::to_string(file.n_parts()) + " of the " + std::to_string(*n_parts) +
                           " parts of a split model");
  }
  return OkStatus();
}

// An array with one entry of `a` or `b` per token, where it is there at all.
Status CheckPerToken(const GgufView& file, std::string_view key, size_t n_tokens, GgufType a, GgufType b) {
  const GgufValue* v = file.Find(key);
  if (v == nullptr) return OkStatus();
  const std::string what = "key " + std::string(key);
  if (v->type != GgufType::kArray || (v->element != a && v->element != b)) {
    return file.Error(what + " is not an array of " + std::string(GgufTypeName(a)));
  }
  if (v->count != n_tokens) {
    return file.Error(what + " has " + std::to_string(v->count) + " entries for " + std::to_string(n_tokens) +
                      " tokens");
  }
  return OkStatus();
}

class TokenizerCheck {
 public:
  TokenizerCheck(const GgufView& file, std::string_view model) : file_(file), spm_(model == "llama") {}

  Status Run() {
    ARKVALE_RETURN_IF_ERROR(Tokens());
    ARKVALE_RETURN_IF_ERROR(
        CheckPerToken(file_, "tokenizer.ggml.scores", tokens_.size(), GgufType::kF32, GgufType::kI32));
    ARKVALE_RETURN_IF_ERROR(
        CheckPerToken(file_, "tokenizer.ggml.token_type", tokens_.size(), GgufType::kI32, GgufType::kI32));
    ARKVALE_RETURN_IF_ERROR(SpecialIds());
    return spm_ ? Bytes() : Merges();
  }

  size_t n_tokens() const { return tokens_.size(); }

 private:
  Status Tokens() {
    ARKVALE_ASSIGN_OR_RETURN(auto tokens, file_.Strings("tokenizer.ggml.tokens"));
    if (!tokens || tokens->empty()) return file_.Error("key tokenizer.ggml.tokens is missing or empty");
    tokens_ = *std::move(tokens);
    if (tokens_.size() > kMaxTokens) return file_.Error(std::to_string(tokens_.size()) + " tokens are too many");
    words_.reserve(tokens_.size());
    for (size_t i = 0; i < tokens_.size(); ++i) {
      std::string_view word = CString(tokens_[i]);
      if (word.size() > kMaxTokenBytes) return file_.Error("token " + std::to_string(i) + " is larger than 1 MiB");
      if (word.empty()) {  // libllama gives it a name, which must be unique too
        word = empty_names_.emplace_back("[EMPTY_" + std::to_string(i) + "]");
      }
      if (!words_.insert(word).second) return file_.Error("token " + std::to_string(i) + " occurs twice");
    }
    return OkStatus();
  }

  Status SpecialIds() const {
    for (const auto name : kTokenIdKeys) {
      const std::string key = "tokenizer.ggml." + std::string(name) + "_token_id";
      ARKVALE_ASSIGN_OR_RETURN(const auto id, file_.U32(key));
      if (id && *id >= tokens_.size()) {
        return file_.Error("key " + key + " is " + std::to_string(*id) + " of " + std::to_string(tokens_.size()) +
                           " tokens");
      }
    }
    // Adding a token that the file does not name falls back on these ids and aborts where they do not exist.
    for (const std::string_view name : {"bos", "eos"}) {
      const std::string prefix = "tokenizer.ggml.";
      ARKVALE_ASSIGN_OR_RETURN(const auto add, file_.Bool(prefix + "add_" + std::string(name) + "_token"));
      const size_t fallback = !spm_ ? 11 : name == "bos" ? 1 : 2;
      const bool named = file_.Find(prefix + std::string(name) + "_token_id") != nullptr;
      if (add.value_or(name == "bos") && !named && fallback >= tokens_.size()) {
        return file_.Error("key " + prefix + std::string(name) + "_token_id is missing");
      }
    }
    return OkStatus();
  }

  Status Merges() const {
    ARKVALE_ASSIGN_OR_RETURN(const auto merges, file_.Strings("tokenizer.ggml.merges"));
    if (!merges) return file_.Error("key tokenizer.ggml.merges is missing");
    for (size_t i = 0; i < merges->size(); ++i) {
      const std::string_view merge = CString((*merges)[i]);
      const size_t space = merge.find(' ', 1);
      if (space == std::string_view::npos || space + 1 == merge.size()) {
        return file_.Error("merge " + std::to_string(i) + " is not two words with a space between them");
      }
    }
    return OkStatus();
  }

  // Any text must have tokens: a byte without one is an exception in libllama.
  Status Bytes() const {
    for (int byte = 0; byte < 256; ++byte) {
      const char c = static_cast<char>(byte);
      if (!words_.contains(ByteToken(byte)) && (byte == 0 || !words_.contains(std::string_view(&c, 1)))) {
        return file_.Error("no token for the byte " + ByteToken(byte));
      }
    }
    const GgufValue* types = file_.Find("tokenizer.ggml.token_type");
    if (types == nullptr) return OkStatus();
    for (size_t i = 0; i < tokens_.size(); ++i) {
      int32_t type;
      std::memcpy(&type, types->bytes.data() + i * sizeof(type), sizeof(type));
      if (type == kTokenTypeByte && !IsByteToken(CString(tokens_[i]))) {
        return file_.Error("token " + std::to_string(i) + " is of type byte but not written <0xNN>");
      }
    }
    return OkStatus();
  }

  const GgufView& file_;
  const bool spm_;
  std::vector<std::string_view> tokens_;
  std::unordered_set<std::string_view> words_;
  std::deque<std::string> empty_names_;  // words_ borrows from it
};

// Returns the number of tokens, 0 for a file without a tokenizer.
Result<size_t> CheckTokenizer(const GgufView& file) {
  ARKVALE_ASSIGN_OR_RETURN(const auto model, file.String("tokenizer.ggml.model"));
  if (!model || *model == "none" || *model == "no_vocab") return size_t{0};
  if (*model != "llama" && *model != "gpt2") {
    return InvalidArgument(file.name() + ": tokenizer '" + std::string(model->substr(0, 32)) +
                           "' is not supported (gpt2, llama are)");
  }
  const GgufValue* suppress = file.Find("tokenizer.ggml.suppress_tokens");
  if (suppress != nullptr && (suppress->type != GgufType::kArray || suppress->element != GgufType::kI32)) {
    return file.Error("key tokenizer.ggml.suppress_tokens is not an array of i32");
  }
  TokenizerCheck check(file, *model);
  ARKVALE_RETURN_IF_ERROR(check.Run());
  return check.n_tokens();
}

}  // namespace

Status CheckGgufView(const GgufView& file) {
  ARKVALE_RETURN_IF_ERROR(CheckKeyTypes(file));
  ARKVALE_ASSIGN_OR_RETURN(const size_t n_tokens, CheckTokenizer(file));
  ARKVALE_ASSIGN_OR_RETURN(const auto architecture, file.String("general.architecture"));
  if (!architecture) return file.Error("key general.architecture is missing");
  const auto known = SupportedArchitectures();
  if (std::find(known.begin(), known.end(), *architecture) == known.end()) return OkStatus();
  ARKVALE_ASSIGN_OR_RETURN(const ModelConfig config, ReadConfig(file));
  if (n_tokens != 0 && n_tokens != static_cast<size_t>(config.n_vocab)) {
    return file.Error(std::to_string(n_tokens) + " tokens, but token_embd.weight has " +
                      std::to_string(config.n_vocab) + " rows");
  }
  return BindWeights(file, config).status();
}

Status CheckGguf(std::span<const std::byte> file, const std::string& name) {
  ARKVALE_ASSIGN_OR_RETURN(const GgufView view, GgufView::Parse(file, name));
  return CheckGgufView(view);
}

Status CheckGgufFile(const std::string& path) {
  ARKVALE_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::Open(path));
  return CheckGgufView(file.view());
}

}  // namespace arkvale
