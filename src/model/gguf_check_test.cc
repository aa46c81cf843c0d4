#include "model/gguf_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <span>
#include <string>

#include "base/rng.h"
#include "model/config.h"
#include "model/gguf_test_util.h"

namespace arkvale {
namespace {

using testing::AddTokenizer;
using testing::GgufWriter;
using testing::TinyModel;

Status Check(const std::string& bytes) { return CheckGguf(std::as_bytes(std::span(bytes)), "file"); }

// Makes one thing wrong in a valid file and wants a Status of `kind` that says `part`.
struct Case {
  const char* name;
  std::function<void(GgufWriter&)> damage;
  const char* part;
  StatusKind kind = StatusKind::kCorrupt;
  const char* architecture = "llama";

  friend void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }
};

class GgufCheckCase : public ::testing::TestWithParam<Case> {};

TEST_P(GgufCheckCase, IsRefused) {
  GgufWriter w = TinyModel(GetParam().architecture);
  ASSERT_TRUE(Check(w.Build()).ok()) << Check(w.Build()).ToString();
  GetParam().damage(w);
  const Status status = Check(w.Build());
  EXPECT_EQ(status.kind(), GetParam().kind) << status.ToString();
  EXPECT_NE(status.message().find(GetParam().part), std::string::npos) << status.ToString();
}

constexpr auto kUnsupported = StatusKind::kInvalidArgument;

// Replaces one element of a string array of `n` by `text`.
void SetToken(GgufWriter& w, size_t i, const std::string& text) {
  std::vector<std::string> tokens;
  for (size_t t = 0; t < 300; ++t) tokens.push_back("t" + std::to_string(t));
  tokens[i] = text;
  w.Strings("tokenizer.ggml.tokens", tokens);
}

const Case kFileCases[] = {
    {"Magic", [](auto& w) { w.magic = "GGUX"; }, "magic"},
    {"Version1", [](auto& w) { w.version = 1; }, "version 1"},
    {"Version4", [](auto& w) { w.version = 4; }, "version 4"},
    {"BigEndian", [](auto& w) { w.version = 3u << 24; }, "version"},
    {"ManyKeys", [](auto& w) { w.n_values = ~0ull; }, "do not fit"},
    {"ManyTensors", [](auto& w) { w.n_tensors = 1ull << 60; }, "do not fit"},
    {"OneKeyTooMany", [](auto& w) { w.n_values = 100; }, "key"},
    {"OneTensorTooFew", [](auto& w) { w.n_tensors = w.tensors.size() - 1; }, "is missing"},
    {"HugeString", [](auto& w) { w.Set("a", GgufType::kString, GgufWriter::Bytes(~0ull)); }, "ends inside"},
    {"HugeArray",
     [](auto& w) {
       w.Set("a", GgufType::kArray, GgufWriter::Bytes(GgufType::kU64) + GgufWriter::Bytes(uint64_t{1} << 61));
     },
     "elements"},
    {"LongArray",
     [](auto& w) {
       w.Set("a", GgufType::kArray, GgufWriter::Bytes(GgufType::kString) + GgufWriter::Bytes(uint64_t{1} << 30));
     },
     "ends inside"},
    {"NestedArray",
     [](auto& w) {
       w.Set("a", GgufType::kArray, GgufWriter::Bytes(GgufType::kArray) + GgufWriter::Bytes(uint64_t{0}));
     },
     "array of arrays"},
    {"UnknownType", [](auto& w) { w.Set("a", static_cast<GgufType>(13), "1234"); }, "unknown type 13"},
    {"EmptyKey", [](auto& w) { w.U32("", 1); }, "empty"},
    {"KeyWithZero", [](auto& w) { w.U32(std::string("a\0b", 3), 1); }, "zero byte"},
    {"DuplicateKey", [](auto& w) { w.Append("general.name", GgufType::kString, GgufWriter::Text("again")); },
     "occurs twice"},
    {"AlignmentZero", [](auto& w) { w.U32("general.alignment", 0); }, "power of two"},
    {"AlignmentOdd", [](auto& w) { w.U32("general.alignment", 48); }, "power of two"},
    {"AlignmentHuge", [](auto& w) { w.U32("general.alignment", 1u << 31); }, "power of two"},
    {"AlignmentType", [](auto& w) { w.Str("general.alignment", "32"); }, "expected u32"},
    {"Split", [](auto& w) { w.Set("split.count", GgufType::kU16, GgufWriter::Bytes(uint16_t{2})); }, "1 of the 2 parts",
     kUnsupported},
    {"SplitType", [](auto& w) { w.U32("split.count", 2); }, "split.count is u32, expected u16"},
};

const Case kTensorCases[] = {
    {"DuplicateTensor", [](auto& w) { w.tensors[2].name = w.tensors[1].name; }, "occurs twice"},
    {"EmptyName", [](auto& w) { w.tensors[2].name = ""; }, "empty name"},
    {"LongName", [](auto& w) { w.tensors[2].name = std::string(64, 'x'); }, "more than 63"},
    {"NoDims", [](auto& w) { w.tensors[0].dims = {}; }, "0 dimensions"},
    {"FiveDims",
     [](auto& w) {
       w.tensors[0].dims = {1, 1, 1, 1, 1};
     },
     "5 dimensions"},
    {"DimZero",
     [](auto& w) {
       w.tensors[0].dims = {32, 0};
     },
     "dimension 0"},
    {"DimNegative",
     [](auto& w) {
       w.tensors[0].dims = {-32, 300};
     },
     "dimension -32"},
    {"DimsOverflow",
     [](auto& w) {
       w.tensors[0].dims = {1ll << 32, 1ll << 32};
     },
     "2^63"},
    {"BytesOverflow", [](auto& w) { w.tensors[0].dims = {1ll << 62}; }, "2^63"},
    {"OffsetMisaligned", [](auto& w) { w.tensors[1].offset = 38401; }, "offset 38401"},
    {"OffsetOverlap", [](auto& w) { w.tensors[1].offset = 0; }, "offset 0, expected"},
    {"OffsetHuge", [](auto& w) { w.tensors[1].offset = ~0ull; }, "offset 18446744073709551615"},
    {"OutOfFile",
     [](auto& w) {
       w.tensors.back().dims = {32, 1 << 20};
     },
     "ends after"},
    {"TypeNegative", [](auto& w) { w.tensors[0].type = -1; }, "unknown type -1"},
    {"TypeRemoved", [](auto& w) { w.tensors[0].type = 4; }, "unknown type 4"},
    {"TypeHuge", [](auto& w) { w.tensors[0].type = 1 << 30; }, "unknown type"},
    {"BlockSize", [](auto& w) { w.Find("blk.0.ffn_down.weight").type = 8; }, "multiple of the 32"},
    {"TypeWithoutKernel",
     [](auto& w) {
       auto& t = w.Find("blk.0.attn_q.weight");
       t.type = 28;  // f64
       t.data.resize(t.data.size() * 2);
     },
     "type f64", kUnsupported},
    {"NormType",
     [](auto& w) {
       auto& t = w.Find("blk.1.ffn_norm.weight");
       t.type = 1;  // f16
       t.data.resize(64);
     },
     "expected f32", kUnsupported},
    {"Missing", [](auto& w) { w.tensors.pop_back(); }, "'blk.2.ffn_down.weight' is missing"},
    {"UnknownTensor", [](auto& w) { w.F32Tensor("blk.0.attn_norm.bias", {32}, 0, 1); }, "'blk.0.attn_norm.bias'",
     kUnsupported},
    {"BiasShape", [](auto& w) { w.F32Tensor("blk.0.attn_q.bias", {63}, 0, 1); }, "'blk.0.attn_q.bias' has shape 63"},
    {"FusedShape",
     [](auto& w) {
       w.Find("blk.1.attn_qkv.weight").dims[1] = 63;
       w.Find("blk.1.attn_qkv.weight").data.resize(63 * 128);
     },
     "'blk.1.attn_qkv.weight' has shape 32 x 63, expected 32 x 64", StatusKind::kCorrupt, "phi3"},
    {"FusedGate",
     [](auto& w) {
       w.Find("blk.1.ffn_up.weight").dims[1] = 48;
       w.Find("blk.1.ffn_up.weight").data.resize(48 * 128);
     },
     "'blk.1.ffn_up.weight' has shape 32 x 48, expected 32 x 96", StatusKind::kCorrupt, "phi3"},
    {"ExpertsShape",
     [](auto& w) {
       w.Find("blk.1.ffn_up_exps.weight").dims = {32, 96};
     },
     "'blk.1.ffn_up_exps.weight' has shape 32 x 96, expected 32 x 16 x 6", StatusKind::kCorrupt, "qwen3moe"},
    {"ExpertsBias",
     [](auto& w) {
       w.F32Tensor("blk.1.ffn_up_exps.bias", {16, 6}, 0, 1);
     },
     "'blk.1.ffn_up_exps.bias'", kUnsupported, "qwen3moe"},
    {"Shape", [](auto& w) { std::swap(w.Find("blk.1.ffn_up.weight").dims[0], w.Find("blk.1.ffn_up.weight").dims[1]); },
     "'blk.1.ffn_up.weight' has shape 48 x 32, expected 32 x 48"},
    {"VocabSize",
     [](auto& w) {
       w.Find("token_embd.weight").dims[1] = 299;
       w.Find("token_embd.weight").data.resize(299 * 128);
     },
     "300 tokens"},
};

const Case kConfigCases[] = {
    {"NoArchitecture", [](auto& w) { w.Remove("general.architecture"); }, "architecture is missing"},
    {"ArchitectureType", [](auto& w) { w.U32("general.architecture", 1); }, "expected string"},
    {"NameType", [](auto& w) { w.U32("general.name", 1); }, "expected string"},
    {"FileTypeType", [](auto& w) { w.Str("general.file_type", "q"); }, "expected u32"},
    {"NoLayers", [](auto& w) { w.U32("llama.block_count", 0); }, "block_count is 0"},
    {"ManyLayers", [](auto& w) { w.U32("llama.block_count", 513); }, "not in 1..512"},
    {"LayersType", [](auto& w) { w.F32("llama.block_count", 3); }, "expected u32"},
    {"NoContext", [](auto& w) { w.Remove("llama.context_length"); }, "context_length is missing"},
    {"NoHeads", [](auto& w) { w.U32("llama.attention.head_count", 0); }, "head_count is 0"},
    {"KvHeads", [](auto& w) { w.U32("llama.attention.head_count_kv", 3); }, "multiple"},
    {"HeadsPerLayer",
     [](auto& w) {
       w.Array("llama.attention.head_count", GgufType::kU32, std::vector<uint32_t>{4, 4, 4});
     },
     "per layer", kUnsupported},
    {"Width", [](auto& w) { w.U32("llama.embedding_length", 64); }, "has shape"},
    {"WidthHuge", [](auto& w) { w.U32("llama.embedding_length", ~0u); }, "embedding_length"},
    {"Eps", [](auto& w) { w.F32("llama.attention.layer_norm_rms_epsilon", NAN); }, "positive"},
    {"Rotary", [](auto& w) { w.U32("llama.rope.dimension_count", 8); }, "equal key, value and rotary"},
    {"RotaryOdd", [](auto& w) { w.U32("llama.rope.dimension_count", 15); }, "even"},
    {"RopeBase", [](auto& w) { w.F32("llama.rope.freq_base", -1); }, "positive"},
    {"RopeFactor", [](auto& w) { w.F32("llama.rope.scaling.factor", -2); }, "positive"},
    {"RopeScaling", [](auto& w) { w.Str("llama.rope.scaling.type", "dynamic"); }, "rope scaling 'dynamic'",
     kUnsupported},
    {"RopeFactorNan", [](auto& w) { w.F32("llama.rope.scaling.factor", NAN); }, "positive"},
    {"YarnBase",
     [](auto& w) {
       w.Str("llama.rope.scaling.type", "yarn");
       w.F32("llama.rope.freq_base", 1);
     },
     "YaRN needs more than 1"},
    {"AttnFactor", [](auto& w) { w.F32("llama.rope.scaling.attn_factor", 0); }, "positive"},
    {"OriginalContext", [](auto& w) { w.U32("llama.rope.scaling.original_context_length", 0); }, "original_context"},
    {"Alibi", [](auto& w) { w.F32("llama.attention.max_alibi_bias", 8); }, "ALiBi", kUnsupported},
    {"Clamp", [](auto& w) { w.F32("llama.attention.clamp_kqv", 8); }, "clamping", kUnsupported},
    {"NotCausal", [](auto& w) { w.Bool("llama.attention.causal", false); }, "causal", kUnsupported},
    {"NextToken", [](auto& w) { w.U32("qwen3.nextn_predict_layers", 1); }, "multi-token", kUnsupported, "qwen3"},
    {"ExpertsMissing", [](auto& w) { w.U32("llama.expert_count", 8); }, "expert_used_count is missing"},
    {"ExpertsNone", [](auto& w) { w.U32("qwen3moe.expert_count", 0); }, "qwen3moe with 0 experts", StatusKind::kCorrupt,
     "qwen3moe"},
    {"ExpertsMany", [](auto& w) { w.U32("qwen3moe.expert_count", 1025); }, "not in 1..1024", StatusKind::kCorrupt,
     "qwen3moe"},
    {"ExpertsUsed", [](auto& w) { w.U32("qwen3moe.expert_used_count", 7); }, "not in 1..6", StatusKind::kCorrupt,
     "qwen3moe"},
    {"ExpertsOfQwen3",
     [](auto& w) {
       w.U32("qwen3.expert_count", 4);
       w.U32("qwen3.expert_used_count", 2);
     },
     "qwen3 with 4 experts", StatusKind::kCorrupt, "qwen3"},
    {"ExpertsOfQwen2",
     [](auto& w) {
       w.U32("qwen2.expert_count", 4);
       w.U32("qwen2.expert_used_count", 2);
     },
     "experts in architecture qwen2", kUnsupported, "qwen2"},
    {"ExpertsShared", [](auto& w) { w.U32("qwen3moe.expert_shared_count", 1); }, "shared experts", kUnsupported,
     "qwen3moe"},
    {"ExpertsSigmoid", [](auto& w) { w.U32("qwen3moe.expert_gating_func", 2); }, "expert_gating_func 2", kUnsupported,
     "qwen3moe"},
    {"ExpertsScale", [](auto& w) { w.F32("qwen3moe.expert_weights_scale", 2.5f); }, "scaling of expert weights",
     kUnsupported, "qwen3moe"},
    {"ExpertsNorm", [](auto& w) { w.Bool("qwen3moe.expert_weights_norm", false); }, "sum to 1", kUnsupported,
     "qwen3moe"},
    {"ExpertsGroups", [](auto& w) { w.U32("qwen3moe.expert_group_count", 2); }, "groups", kUnsupported, "qwen3moe"},
    {"ExpertsDenseLayers", [](auto& w) { w.U32("qwen3moe.leading_dense_block_count", 1); }, "dense and expert",
     kUnsupported, "qwen3moe"},
    {"SoftcapNan", [](auto& w) { w.F32("gemma2.attn_logit_softcapping", NAN); }, "softcapping", StatusKind::kCorrupt,
     "gemma2"},
    {"WindowsPerLayer",
     [](auto& w) {
       w.Array("gemma2.attention.sliding_window_pattern", GgufType::kBool, std::vector<uint8_t>{1, 0, 1});
     },
     "per layer", kUnsupported, "gemma2"},
    {"Window", [](auto& w) { w.U32("gemma3.attention.sliding_window", 1u << 31); }, "sliding_window",
     StatusKind::kCorrupt, "gemma3"},
    {"WindowPattern", [](auto& w) { w.Str("gemma3.attention.sliding_window_pattern", "x"); }, "expected u32",
     StatusKind::kCorrupt, "gemma3"},
    {"Softcap", [](auto& w) { w.F32("gemma3.final_logit_softcapping", INFINITY); }, "softcapping", StatusKind::kCorrupt,
     "gemma3"},
};

const Case kTokenizerCases[] = {
    {"Unknown", [](auto& w) { w.Str("tokenizer.ggml.model", "bert"); }, "tokenizer 'bert'", kUnsupported},
    {"ModelType", [](auto& w) { w.U32("tokenizer.ggml.model", 1); }, "expected string"},
    {"NoTokens", [](auto& w) { w.Remove("tokenizer.ggml.tokens"); }, "missing or empty"},
    {"EmptyTokens", [](auto& w) { w.Strings("tokenizer.ggml.tokens", {}); }, "missing or empty"},
    {"TokensType", [](auto& w) { w.U32("tokenizer.ggml.tokens", 1); }, "expected array of string"},
    {"Duplicate", [](auto& w) { SetToken(w, 7, "t6"); }, "token 7 occurs twice"},
    {"DuplicateUpToZero", [](auto& w) { SetToken(w, 7, std::string("t6\0x", 4)); }, "token 7 occurs twice"},
    {"DuplicateOfEmpty",
     [](auto& w) {
       SetToken(w, 7, "[EMPTY_299]");
       std::vector<std::string> tokens;
       for (int i = 0; i < 299; ++i) tokens.push_back(i == 7 ? "[EMPTY_299]" : "t" + std::to_string(i));
       tokens.push_back("");
       w.Strings("tokenizer.ggml.tokens", tokens);
     },
     "token 299 occurs twice"},
    {"BosRange", [](auto& w) { w.U32("tokenizer.ggml.bos_token_id", 300); }, "bos_token_id is 300 of 300"},
    {"EosRange", [](auto& w) { w.U32("tokenizer.ggml.eos_token_id", ~0u); }, "eos_token_id"},
    {"EosType", [](auto& w) { w.Str("tokenizer.ggml.eos_token_id", "2"); }, "expected u32"},
    {"TypesLength", [](auto& w) { w.Array("tokenizer.ggml.token_type", GgufType::kI32, std::vector<int32_t>(299, 1)); },
     "299 entries for 300"},
    {"TypesType", [](auto& w) { w.Array("tokenizer.ggml.token_type", GgufType::kF32, std::vector<float>(300, 1)); },
     "not an array of i32"},
    {"AddBosType", [](auto& w) { w.U32("tokenizer.ggml.add_bos_token", 1); }, "expected bool"},
    {"NoMerges", [](auto& w) { w.Remove("tokenizer.ggml.merges"); }, "merges is missing"},
    {"MergeOneWord",
     [](auto& w) {
       w.Strings("tokenizer.ggml.merges", {"a b", "ab"});
     },
     "merge 1"},
    {"MergeNoSecond", [](auto& w) { w.Strings("tokenizer.ggml.merges", {"a "}); }, "merge 0"},
    {"MergeEmpty", [](auto& w) { w.Strings("tokenizer.ggml.merges", {""}); }, "merge 0"},
    {"MergesType", [](auto& w) { w.Array("tokenizer.ggml.merges", GgufType::kI32, std::vector<int32_t>{1}); },
     "expected array of string"},
    {"NoByte", [](auto& w) { SetToken(w, 0, "x"); }, "no token for the byte <0x00>", StatusKind::kCorrupt, "gemma3"},
    {"ByteTokenText",
     [](auto& w) { w.Array("tokenizer.ggml.token_type", GgufType::kI32, std::vector<int32_t>(300, 6)); },
     "token 0 is of type byte", StatusKind::kCorrupt, "gemma3"},
    {"ScoresLength", [](auto& w) { w.Array("tokenizer.ggml.scores", GgufType::kF32, std::vector<float>(3, 1)); },
     "3 entries for 300", StatusKind::kCorrupt, "gemma3"},
};

std::string CaseName(const ::testing::TestParamInfo<Case>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(File, GgufCheckCase, ::testing::ValuesIn(kFileCases), CaseName);
INSTANTIATE_TEST_SUITE_P(Tensor, GgufCheckCase, ::testing::ValuesIn(kTensorCases), CaseName);
INSTANTIATE_TEST_SUITE_P(Config, GgufCheckCase, ::testing::ValuesIn(kConfigCases), CaseName);
INSTANTIATE_TEST_SUITE_P(Tokenizer, GgufCheckCase, ::testing::ValuesIn(kTokenizerCases), CaseName);

TEST(GgufCheck, AcceptsWhatItShould) {
  GgufWriter w = TinyModel("llama");
  w.version = 2;
  w.U32("general.alignment", 64);
  w.alignment = 64;
  w.F32("llama.rope.scaling.factor", 4.0f);
  w.F32Tensor("rope_freqs.weight", {8}, 4, 1);
  w.F32Tensor("output.weight", {32, 300}, 0, 1);
  EXPECT_TRUE(Check(w.Build()).ok()) << Check(w.Build()).ToString();
  // Other architectures are sound files too; Transformer::Load refuses them.
  w.Str("general.architecture", "mamba");
  EXPECT_TRUE(Check(w.Build()).ok());
  for (const std::string_view architecture : SupportedArchitectures()) {
    const Status status = Check(TinyModel(std::string(architecture)).Build());
    EXPECT_TRUE(status.ok()) << architecture << ": " << status.ToString();
  }
}

// What files of these architectures carry: BPE of any pre-tokenizer, SentencePiece, or no tokenizer at all.
TEST(GgufCheck, AcceptsTheVocabulariesOfItsArchitectures) {
  for (const std::string_view architecture : SupportedArchitectures()) {
    for (const char* tokenizer : {"gpt2", "llama", "none"}) {
      GgufWriter w = TinyModel(std::string(architecture));
      AddTokenizer(w, tokenizer);
      EXPECT_TRUE(Check(w.Build()).ok()) << architecture << " " << tokenizer << " " << Check(w.Build()).ToString();
    }
    GgufWriter w = TinyModel(std::string(architecture));
    AddTokenizer(w, "gpt2");
    for (const char* pre : {"qwen2", "llama-bpe", "tekken", "gpt-4o", "smollm"}) {
      w.Str("tokenizer.ggml.pre", pre);
      EXPECT_TRUE(Check(w.Build()).ok()) << architecture << " " << pre;
    }
    w.Remove("tokenizer.ggml.model");
    EXPECT_TRUE(Check(w.Build()).ok()) << Check(w.Build()).ToString();
  }
}

// Zeros after the last tensor are padding: only cuts into what the header promises are seen.
TEST(GgufCheck, EveryPrefixIsCorrupt) {
  GgufWriter w = TinyModel("llama");
  const std::string bytes = w.Build();
  ASSERT_EQ(w.tensors.back().data.size() % w.alignment, 0u);
  const size_t data = bytes.find(w.tensors[0].data.substr(0, 64));
  ASSERT_NE(data, std::string::npos);
  for (size_t n = 0; n < bytes.size(); n += n < data ? 1 : 997) {
    ASSERT_EQ(Check(bytes.substr(0, n)).kind(), StatusKind::kCorrupt) << n << " of " << bytes.size();
  }
}

TEST(GgufCheck, SurvivesRandomBytes) {
  for (const std::string architecture : {"llama", "gemma3", "phi3", "qwen3moe"}) {
    const std::string good = TinyModel(architecture).Build();
    Rng rng("gguf flips/" + architecture);
    int refused = 0;
    for (int round = 0; round < 2000; ++round) {
      std::string bytes = good;
      for (uint64_t i = 1 + rng.Below(4); i > 0; --i) bytes[rng.Below(20000)] = static_cast<char>(rng.Next());
      refused += !Check(bytes).ok();
    }
    EXPECT_GT(refused, 100) << architecture;
  }
}

TEST(GgufCheck, MissingFileIsNotFound) {
  EXPECT_EQ(CheckGgufFile("/nonexistent/model.gguf").kind(), StatusKind::kNotFound);
  EXPECT_EQ(CheckGgufFile(::testing::TempDir()).kind(), StatusKind::kCorrupt);
}

}  // namespace
}  // namespace arkvale
