#include "model/synthetic_vocab.h"

#include <string>
#include <vector>

namespace arkvale {

namespace {

// Token types of GGUF.
constexpr int32_t kNormal = 1, kControl = 3, kUnused = 5;

constexpr std::string_view kChatMl =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

std::string Utf8(uint32_t c) {  // c < 0x800
  if (c < 0x80) return std::string(1, static_cast<char>(c));
  return {static_cast<char>(0xc0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3f))};
}

// GPT-2's spelling of bytes: visible Latin-1 characters stand for themselves, the others for 256, 257, ... in order.
std::vector<std::string> ByteTokens() {
  std::vector<std::string> tokens;
  uint32_t next = 256;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool visible = (b >= 33 && b <= 126) || (b >= 161 && b <= 255 && b != 173);
    tokens.push_back(Utf8(visible ? b : next++));
  }
  return tokens;
}

}  // namespace

void AddSyntheticVocab(GgufFileWriter& file, int64_t n_vocab) {
  std::vector<std::string> tokens = ByteTokens();
  std::vector<int32_t> types(tokens.size(), kNormal);
  for (const char* special : {"<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"}) {
    tokens.emplace_back(special);
    types.push_back(kControl);
  }
  while (static_cast<int64_t>(tokens.size()) < n_vocab) {
    tokens.push_back("<|unused_" + std::to_string(tokens.size()) + "|>");
    types.push_back(kUnused);
  }
  const auto id = [&](const char* name, SyntheticToken token) {
    file.U32(std::string("tokenizer.ggml.") + name + "_token_id", static_cast<uint32_t>(token));
  };
  file.String("tokenizer.ggml.model", "gpt2");
  file.String("tokenizer.ggml.pre", "smollm");  // libllama's default one would tidy up spaces when it detokenises
  file.Strings("tokenizer.ggml.tokens", tokens);
  file.I32s("tokenizer.ggml.token_type", types);
  file.Strings("tokenizer.ggml.merges", {});
  id("bos", SyntheticToken::kBos);
  id("eos", SyntheticToken::kEos);
  id("eot", SyntheticToken::kTurnEnd);
  file.Bool("tokenizer.ggml.add_bos_token", true);
  file.String("tokenizer.chat_template", kChatMl);
}

}  // namespace arkvale
