// Writes the seed corpora: fuzz_seeds FOLDER makes FOLDER/TARGET/NAME.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "model/gguf_test_util.h"

namespace {

using arkvale::GgufType;
using arkvale::testing::GgufWriter;

void Write(const std::filesystem::path& folder, const std::string& name, const std::string& bytes) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / name, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// A vocabulary of a few tokens: bytes changed at random hit what matters.
void AddGpt2(GgufWriter& w) {
  w.Str("tokenizer.ggml.model", "gpt2");
  w.Str("tokenizer.ggml.pre", "smollm");
  w.Strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "a", "b", "ab", "\xC4\xA0",
                                      "\xC4\xA0"
                                      "a",
                                      "1", "<|im_end|>", "c", "d", "abc", ""});
  w.Strings("tokenizer.ggml.merges", {"a b", "\xC4\xA0 a", "ab c"});
  w.Array("tokenizer.ggml.token_type", GgufType::kI32, std::vector<int32_t>{2, 3, 3, 1, 1, 1, 1, 1, 1, 3, 1, 1, 4, 5});
  w.U32("tokenizer.ggml.bos_token_id", 1);
  w.U32("tokenizer.ggml.eos_token_id", 2);
  w.U32("tokenizer.ggml.unknown_token_id", 0);
  w.U32("tokenizer.ggml.padding_token_id", 0);
  w.Bool("tokenizer.ggml.add_bos_token", true);
  w.Bool("tokenizer.ggml.add_eos_token", false);
  w.Bool("tokenizer.ggml.add_space_prefix", false);
}

// The smallest model of one layer that the checks let through.
GgufWriter SmallModel(const std::string& architecture, bool spm) {
  const bool gemma = architecture == "gemma3";
  GgufWriter w;
  const std::string arch = architecture + ".";
  w.Str("general.architecture", architecture);
  w.U32("general.alignment", 32);
  w.U32(arch + "block_count", 1);
  w.U32(arch + "context_length", 64);
  w.U32(arch + "embedding_length", 4);
  w.U32(arch + "feed_forward_length", 4);
  w.U32(arch + "attention.head_count", 2);
  w.U32(arch + "attention.head_count_kv", 1);
  w.U32(arch + "attention.key_length", 2);
  w.U32(arch + "attention.value_length", 2);
  w.F32(arch + "attention.layer_norm_rms_epsilon", 1e-5f);
  w.U32(arch + "rope.dimension_count", 2);
  w.F32(arch + "rope.freq_base", 10000.0f);
  w.Str(arch + "rope.scaling.type", "linear");
  w.F32(arch + "rope.scaling.factor", 2.0f);
  if (gemma) {
    w.U32(arch + "attention.sliding_window", 8);
    w.U32(arch + "attention.sliding_window_pattern", 2);
  }
  if (spm) {
    arkvale::testing::AddTokenizer(w, "llama");
    w.Bool("tokenizer.ggml.add_space_prefix", false);
  } else {
    AddGpt2(w);
  }
  w.Str("tokenizer.chat_template", "{% for m in messages %}<|im_start|>{{ m.role }}{% endfor %}");
  const int64_t n_vocab = spm ? 300 : 14;
  w.F32Tensor("token_embd.weight", {4, n_vocab}, 0, 0.5f);
  w.F32Tensor("output_norm.weight", {4}, 1, 0.2f);
  const std::string blk = "blk.0.";
  w.F32Tensor(blk + "attn_norm.weight", {4}, 1, 0.2f);
  w.F32Tensor(blk + "attn_q.weight", {4, 4}, 0, 0.5f);
  w.F32Tensor(blk + "attn_k.weight", {4, 2}, 0, 0.5f);
  w.F32Tensor(blk + "attn_v.weight", {4, 2}, 0, 0.5f);
  w.F32Tensor(blk + "attn_output.weight", {4, 4}, 0, 0.3f);
  w.F32Tensor(blk + "ffn_norm.weight", {4}, 1, 0.2f);
  w.F32Tensor(blk + "ffn_gate.weight", {4, 4}, 0, 0.4f);
  w.F32Tensor(blk + "ffn_up.weight", {4, 4}, 0, 0.4f);
  w.F32Tensor(blk + "ffn_down.weight", {4, 4}, 0, 0.3f);
  if (gemma) {
    w.F32Tensor(blk + "attn_q_norm.weight", {2}, 1, 0.2f);
    w.F32Tensor(blk + "attn_k_norm.weight", {2}, 1, 0.2f);
    w.F32Tensor(blk + "post_attention_norm.weight", {4}, 1, 0.2f);
    w.F32Tensor(blk + "post_ffw_norm.weight", {4}, 1, 0.2f);
  }
  return w;
}

void WriteModels(const std::filesystem::path& root) {
  for (const char* target : {"gguf", "vocab"}) {
    const std::filesystem::path folder = root / target;
    Write(folder, "llama_gpt2", SmallModel("llama", false).Build());
    Write(folder, "llama_spm", SmallModel("llama", true).Build());
    Write(folder, "gemma3_spm", SmallModel("gemma3", true).Build());
    // Another architecture is not ours to check: libllama alone reads it.
    GgufWriter other;
    other.Str("general.architecture", "gpt2");
    AddGpt2(other);
    Write(folder, "vocabulary_only", other.Build());
    other.Str("general.architecture", "llama");
    other.Str("tokenizer.ggml.model", "none");
    Write(folder, "no_vocabulary", other.Build());
  }
}

void WriteTemplates(const std::filesystem::path& folder) {
  // As FuzzedDataProvider takes them apart: numbers from the end of the input, strings from its start.
  const std::string head = "You are brief.\\\xFFHello\\\xFFHi <|im_end|>\\\xFF";
  const std::string tail = {1, 1, 2, 0, 1, 1, 0, 0, 3, 1};
  const std::vector<std::string> templates = {
      "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
      "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
      "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
      "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}",
      "{%- for m in messages -%}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim "
      "}}<end_of_turn>\n{%- endfor -%}{%- if add_generation_prompt -%}<start_of_turn>model\n{%- endif -%}",
      "{% set ns = namespace(x=0) %}{% for m in messages[1:] %}{% set ns.x = ns.x + 1 %}{{ loop.index }}{{ m.content }}"
      "{% endfor %}{{ raise_exception('no') if messages | length > 3 }}",
      "{% macro say(m) %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}<|eot_id|>{% "
      "endmacro "
      "%}{% for m in messages %}{{ say(m) }}{% endfor %}",
      "chatml",
  };
  for (size_t i = 0; i < templates.size(); ++i) {
    Write(folder, std::to_string(i), head + templates[i] + tail);
  }
}

void WriteTexts(const std::filesystem::path& folder) {
  const std::vector<std::string> texts = {
      "It was the best of times, it was the worst of times.\n\n1234567 <|im_end|> <bos>",
      "\xC3\xA9t\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9 "
      "\xE6\x97\xA5\xE6\x9C\xAC",
      "\xC0\x80 \xED\xA0\x80 \xF4\x90\x80\x80 \xE2\x82",
      std::string("zero\0byte", 9),
      "\t\t\n\n\r\n    def f(x):\n        return x  \n",
  };
  for (size_t i = 0; i < texts.size(); ++i) {
    // Last byte: which tokenizer.
    for (const char which : {0, 1}) Write(folder, std::to_string(i) + "_" + std::to_string(which), texts[i] + which);
  }
}

void WriteGrammars(const std::filesystem::path& folder) {
  const std::vector<std::string> grammars = {
      "root ::= \"yes\" | \"no\"",
      "root ::= item (\",\" item)*  # a list\nitem ::= [a-z]+ [0-9]{1,3} [^\\x00-\\x1f]?",
      "root ::= expr\nexpr ::= term ([-+] term)*\nterm ::= \"(\" expr \")\" | [0-9]+",
  };
  const std::vector<std::string> schemas = {
      R"({"type":"object","properties":{"a":{"type":"string","minLength":2},"b":{"type":"integer","minimum":-3,)"
      R"("maximum":12}},"required":["a"],"additionalProperties":false})",
      R"({"type":"array","items":{"enum":["x",1,null]},"minItems":1,"maxItems":3})",
      R"({"$defs":{"n":{"oneOf":[{"const":1},{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}}}]}},)"
      R"("$ref":"#/$defs/n"})",
      R"({"type":"string","pattern":"^[a-f]{2,4}(-[0-9]+)?$"})",
      R"({"allOf":[{"type":"object","properties":{"d":{"type":"string","format":"date-time"}}}]})",
  };
  // First byte: 0 a grammar, 1 a schema.
  for (size_t i = 0; i < grammars.size(); ++i) {
    Write(folder, "grammar_" + std::to_string(i), std::string(1, '\0') + grammars[i]);
  }
  for (size_t i = 0; i < schemas.size(); ++i) Write(folder, "schema_" + std::to_string(i), '\1' + schemas[i]);
}

void WriteOptions(const std::filesystem::path& folder) {
  Write(folder, "sizes", "512MiB");
  Write(folder, "numbers", "128,2048,7900");
  Write(folder, "budget", "-m\nx.gguf\n--kv-budget\n1024\n--kv-page\n16\n--kv-digest\ncode2\n--kv-topk\npaper");
  Write(folder, "named", "--kv-opt\ncombine=softmax-mean,attend=all,window-exit=drop,digest-type=q8,rank-every=4");
  Write(folder, "memory", "--kv-host-mem\n8GiB\n--kv-hot-mem=512MiB\n--kv-budget\nauto\n--kv-audit\n4");
  Write(folder, "rope", "--rope-scaling\nyarn\n--rope-scale\n4\n--ctx\n32768\n--kv-policy\nquest\n--kv-sinks=3");
}

void WritePlans(const std::filesystem::path& folder) {
  const std::string end = R"(],"made_by":{"model":"tiny","samples":20,"kl":[0.5,1e-3]}})";
  Write(folder, "xkv",
        R"({"version":1,"kind":"xkv","model_fingerprint":"a1b2","page_tokens":1,"window_tokens":8,)"
        R"("layers":[{"budget_tokens":9,"topk_pages":0},null,{"budget_tokens":900,"topk_pages":0})" +
            end);
  Write(folder, "arkvale",
        R"({"version":1,"kind":"arkvale","model_fingerprint":"a1b2","page_tokens":32,"window_tokens":8,)"
        R"("layers":[null,{"budget_tokens":1024,"topk_pages":16},{"budget_tokens":320,"topk_pages":0})" +
            end);
  Write(folder, "nested", R"({"version":1,"made_by":{"a":[[[{"b":[{}]}]]],"c":"\u00e9\ud83d\ude00"}})");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_seeds FOLDER\n");
    return 2;
  }
  const std::filesystem::path root = argv[1];
  WriteModels(root);
  WriteTemplates(root / "chat_template");
  WriteTexts(root / "tokenizer");
  WriteGrammars(root / "grammar");
  WriteOptions(root / "options");
  WritePlans(root / "plan");
  return 0;
}
