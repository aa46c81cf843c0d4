// Every architecture and every element type, on tiny random models that src/model/synthetic writes, against llama.cpp
// on the same file in the same process (evaluation protocol 4).
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "ggml-cpu.h"
#include "ggml.h"
#include "model/gguf_writer.h"
#include "model/model_file.h"
#include "model/synthetic.h"
#include "tests/f32_copy.h"
#include "tests/llama_oracle.h"
#include "tests/logits.h"
#include "tests/parity_rig.h"

namespace arkvale::testing {
namespace {

namespace fs = std::filesystem;

// Past the window of 64 tokens many times over. Types need no such length.
constexpr size_t kPrefill = 700, kTypesPrefill = 256, kSteps = 24, kScored = 64;

class TempFile {
 public:
  explicit TempFile(const std::string& name) : path_(::testing::TempDir() + std::to_string(getpid()) + "-" + name) {}
  ~TempFile() { fs::remove(path_); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::vector<int32_t> Text(const LlamaOracle& oracle, size_t n) {
  std::vector<int32_t> ids = oracle.Tokenize(NovelText().substr(0, n));  // a token is a byte, and BOS
  ids.resize(n);
  return ids;
}

// Logits of the last kScored prompt positions (prefill path), then of kSteps teacher-forced steps (step path). `ids` is
// as long as prompt and steps.
std::vector<float> Ours(ParityRig& rig, const KvOptions& options, std::span<const int32_t> ids) {
  const auto seq = rig.cache->Create(options);
  EXPECT_TRUE(seq.ok()) << seq.status().ToString();
  if (!seq.ok()) return {};
  std::vector<float> logits = rig.Prefill(*seq, ids.first(ids.size() - kSteps), 512, kScored);
  const auto steps = rig.Steps(*seq, ids.last(kSteps));
  logits.insert(logits.end(), steps.begin(), steps.end());
  const KvStats stats = *rig.cache->stats(*seq);
  EXPECT_EQ(options.policy != KvPolicyKind::kFull, stats.counters.scored_steps > 0 && stats.evicted_pages_now > 0);
  return logits;
}

std::vector<float> Theirs(LlamaOracle& oracle, std::span<const int32_t> ids) {
  auto logits = oracle.Logits(ids, ids.size() - kSteps - kScored);
  EXPECT_TRUE(logits.ok()) << logits.status().ToString();
  return logits.ok() ? *logits : std::vector<float>{};
}

// Compares greedy ids where llama.cpp's two best are apart; returns how many positions those are.
int ExpectSameGreedyIds(const std::vector<float>& theirs, const std::vector<float>& ours, size_t n_vocab) {
  int clear = 0;
  for (size_t i = 0; i < kScored + kSteps; ++i) {
    if (TopGap(Row(theirs, i, n_vocab)) <= 0.02f) continue;
    ++clear;
    EXPECT_EQ(ArgMax(Row(theirs, i, n_vocab)), ArgMax(Row(ours, i, n_vocab))) << "position " << i;
  }
  return clear;
}

// A model whose logits are flat or saturated would agree with anything.
void ExpectTellingLogits(const std::vector<float>& logits, size_t n_vocab) {
  double entropy = 0;
  for (size_t i = 0; i < kScored + kSteps; ++i) {
    const std::vector<float> flat(n_vocab, 0.0f);
    entropy += (std::log(static_cast<double>(n_vocab)) - Kl(Row(logits, i, n_vocab), flat)) / (kScored + kSteps);
  }
  EXPECT_GT(entropy, 0.3) << "saturated";
  EXPECT_LT(entropy, std::log(static_cast<double>(n_vocab)) - 0.5) << "flat";
}

struct ArchCase {
  const char* arch;
  const char* rope;
  int64_t context_tokens;  // 0 = the preset's
};

class Architectures : public ::testing::TestWithParam<ArchCase> {};

TEST_P(Architectures, LlamaCppAgreesOnF32Weights) {
  const ArchCase& c = GetParam();
  const TempFile file(std::string(c.arch) + "-" + c.rope + ".gguf");
  const Status written = WriteSynthetic(
      {.preset = "tiny", .architecture = c.arch, .type = "f32", .rope = c.rope, .context_tokens = c.context_tokens},
      file.path());
  ASSERT_TRUE(written.ok()) << written.ToString();
  auto oracle = LlamaOracle::Load(file.path(), 2);
  ASSERT_TRUE(oracle.ok()) << oracle.status().ToString();
  const auto ids = Text(**oracle, kPrefill + kSteps);
  const size_t n_vocab = (*oracle)->n_vocab();
  const auto theirs = Theirs(**oracle, ids);
  ExpectTellingLogits(theirs, n_vocab);

  ParityRig rig(file.path());
  ASSERT_NE(rig.model, nullptr);
  // LongRoPE's factors follow the context that is asked for: the oracle's, longer or shorter than the original one.
  rig.model = *Transformer::Load(file.path(), {.context_tokens = kPrefill + kSteps});
  KvOptions all;  // the whole way of selection and recall, and yet a dense result
  all.budget_tokens = 256;
  all.attend = AttendKind::kAll;
  const auto dense = Ours(rig, ParityRig::Full(), ids), managed = Ours(rig, all, ids);
  ASSERT_EQ(theirs.size(), dense.size());
  ASSERT_EQ(theirs.size(), managed.size());
  const double kl_dense = MeanKl(theirs, dense, n_vocab), kl_managed = MeanKl(theirs, managed, n_vocab);
  std::printf("%s, rope %s, F32 weights: mean KL(llama.cpp || arkvale) = %.3g dense, %.3g attend=all nats\n", c.arch,
              c.rope, kl_dense, kl_managed);
  EXPECT_LE(kl_dense, 1e-4);
  EXPECT_LE(kl_managed, 1e-4);
  EXPECT_GT(ExpectSameGreedyIds(theirs, dense, n_vocab), 60);
  EXPECT_GT(ExpectSameGreedyIds(theirs, managed, n_vocab), 60);
}

INSTANTIATE_TEST_SUITE_P(
    All, Architectures,
    ::testing::Values(ArchCase{"llama", "none", 0}, ArchCase{"llama", "linear", 0}, ArchCase{"llama", "yarn", 0},
                      ArchCase{"llama", "llama3", 0}, ArchCase{"qwen2", "none", 0}, ArchCase{"qwen2", "yarn", 0},
                      ArchCase{"qwen3", "none", 0}, ArchCase{"qwen3", "yarn", 0}, ArchCase{"phi3", "none", 0},
                      ArchCase{"phi3", "longrope", 0}, ArchCase{"phi3", "longrope", 8192},
                      ArchCase{"gemma2", "none", 0}, ArchCase{"gemma3", "none", 0}, ArchCase{"gemma3", "linear", 0},
                      ArchCase{"qwen3moe", "none", 0}),
    [](const auto& info) {
      const int64_t context = info.param.context_tokens;
      return std::string(info.param.arch) + "_" + info.param.rope + (context == 0 ? "" : "_" + std::to_string(context));
    });

// Every type that a GGUF file may hold and ggml can compute with on a CPU.
std::vector<std::string> CpuTypes() {
  std::vector<std::string> names;
  for (int t = 0; t < GGML_TYPE_COUNT; ++t) {
    const auto type = static_cast<ggml_type>(t);
    const bool readable = type == GGML_TYPE_F32 || ggml_get_type_traits(type)->to_float != nullptr;
    if (readable && ggml_get_type_traits_cpu(type)->vec_dot != nullptr) names.emplace_back(ggml_type_name(type));
  }
  return names;
}

class Types : public ::testing::TestWithParam<std::string> {};

TEST_P(Types, AsFaithfulAsLlamaCpp) {
  const std::string& type = GetParam();
  const TempFile file("type-" + type + ".gguf");
  const Status written = WriteSynthetic({.preset = "tiny", .type = type}, file.path());
  ASSERT_TRUE(written.ok()) << written.ToString();
  auto oracle = LlamaOracle::Load(file.path(), 2);
  ASSERT_TRUE(oracle.ok()) << oracle.status().ToString();
  const auto ids = Text(**oracle, kTypesPrefill + kSteps);
  const size_t n_vocab = (*oracle)->n_vocab();
  const auto theirs = Theirs(**oracle, ids);
  const auto f32 = F32Copy(file.path());
  ASSERT_TRUE(f32.ok()) << f32.status().ToString();
  const auto reference = Theirs(**LlamaOracle::Load(*f32, 2), ids);
  fs::remove(*f32);
  const double kl_theirs = MeanKl(reference, theirs, n_vocab);
  const auto steps = [&](const std::vector<float>& l) {
    return std::vector<float>(l.begin() + kScored * n_vocab, l.end());
  };
  const double steps_theirs = MeanKl(steps(reference), steps(theirs), n_vocab);
  for (const bool packed : {true, false}) {
    ParityRig rig(file.path(), 2, packed);
    ASSERT_NE(rig.model, nullptr);
    if (packed && rig.model->packed_bytes() == 0) continue;
    const auto ours = Ours(rig, ParityRig::Full(), ids);
    const double kl_ours = MeanKl(reference, ours, n_vocab),
                 steps_ours = MeanKl(steps(reference), steps(ours), n_vocab);
    std::printf("%s %s: mean KL(F32 || llama.cpp) = %.3g, KL(F32 || arkvale) = %.3g; steps alone %.3g, %.3g nats\n",
                type.c_str(), packed ? "packed" : "mapped", kl_theirs, kl_ours, steps_theirs, steps_ours);
    constexpr double kF32Bar = 1e-4;  // what may differ between two engines that both round nothing
    EXPECT_LE(kl_ours, std::max(1.1 * kl_theirs, kF32Bar));
    EXPECT_LE(steps_ours, std::max(1.1 * steps_theirs, kF32Bar));
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, Types, ::testing::ValuesIn(CpuTypes()), [](const auto& info) { return info.param; });

// Copies a file; one tensor becomes zeros of another type.
void Retype(const std::string& from, const std::string& to, std::string_view tensor, ggml_type type) {
  const auto model = ModelFile::Open(from);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const GgufView& view = model->view();
  GgufFileWriter file(to);
  const auto type_of = [&](const GgufTensor& t) { return t.name == tensor ? static_cast<int32_t>(type) : t.ggml_type; };
  for (const auto key : view.keys()) file.Copy(key, *view.Find(key));
  for (const GgufTensor& t : view.tensors()) file.Tensor(t.name, std::span(t.shape).first(t.n_dims), type_of(t));
  ASSERT_TRUE(file.Begin().ok());
  for (const GgufTensor& t : view.tensors()) {
    const std::vector<std::byte> zeros(ggml_row_size(type, t.shape[0]) * t.shape[1]);
    const auto* data = static_cast<const std::byte*>(view.Weight(t).data);
    ASSERT_TRUE(file.Append(t.name == tensor ? zeros : std::span<const std::byte>(data, t.n_bytes)).ok());
  }
  ASSERT_TRUE(file.Finish().ok());
}

// What ggml names but cannot compute with, such as its types of rounded activations and its integers.
TEST(OtherTypes, AreRefusedByName) {
  const TempFile whole("types.gguf"), other("other-type.gguf");
  ASSERT_TRUE(WriteSynthetic({}, whole.path()).ok());
  const std::vector<std::string> known = CpuTypes();
  std::string refused;
  for (int t = 0; t < GGML_TYPE_COUNT; ++t) {
    const auto type = static_cast<ggml_type>(t);
    const std::string name = ggml_type_name(type);
    if (ggml_blck_size(type) == 0) continue;  // removed from ggml
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    Retype(whole.path(), other.path(), "blk.2.ffn_up.weight", type);
    const Status status = Transformer::Load(other.path()).status();
    EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument) << name << ": " << status.ToString();
    EXPECT_NE(status.message().find("type " + name), std::string::npos) << status.message();
    refused += " " + name;
  }
  std::printf("refused:%s\n", refused.c_str());
  EXPECT_NE(refused.find("q8_1"), std::string::npos);
}

// The parts as llama-gguf-split makes them: keys in the first, tensors in order over both.
void Split(const std::string& path, const std::string& first, const std::string& second) {
  auto model = ModelFile::Open(path);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const GgufView& view = model->view();
  const size_t half = view.tensors().size() / 2;
  for (uint16_t no = 0; no < 2; ++no) {
    GgufFileWriter part(no == 0 ? first : second);
    if (no == 0) {
      for (const auto key : view.keys()) part.Copy(key, *view.Find(key));
    }
    part.U16("split.no", no);
    part.U16("split.count", 2);
    part.I32("split.tensors.count", static_cast<int32_t>(view.tensors().size()));
    const auto tensors =
        std::span(view.tensors()).subspan(no == 0 ? 0 : half, no == 0 ? half : view.tensors().size() - half);
    for (const GgufTensor& t : tensors) part.Tensor(t.name, std::span(t.shape).first(t.n_dims), t.ggml_type);
    ASSERT_TRUE(part.Begin().ok());
    for (const GgufTensor& t : tensors) {
      const auto* data = static_cast<const std::byte*>(view.Weight(t).data);
      ASSERT_TRUE(part.Append({data, t.n_bytes}).ok());
    }
    const Status finished = part.Finish();
    ASSERT_TRUE(finished.ok()) << finished.ToString();
  }
}

TEST(SplitModel, GivesTheLogitsOfTheWhole) {
  const TempFile whole("whole.gguf"), first("split-00001-of-00002.gguf"), second("split-00002-of-00002.gguf");
  ASSERT_TRUE(WriteSynthetic({}, whole.path()).ok());
  Split(whole.path(), first.path(), second.path());
  std::vector<int32_t> ids(kPrefill + kSteps);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * i % 251);
  ParityRig a(whole.path()), b(first.path());
  ASSERT_NE(b.model, nullptr);
  EXPECT_TRUE(Ours(a, ParityRig::Full(), ids) == Ours(b, ParityRig::Full(), ids));
  EXPECT_EQ(Transformer::Load(second.path()).status().kind(), StatusKind::kInvalidArgument) << "not the first part";
  fs::remove(second.path());
  EXPECT_EQ(Transformer::Load(first.path()).status().kind(), StatusKind::kNotFound);
}

}  // namespace
}  // namespace arkvale::testing
