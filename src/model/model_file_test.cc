#include "model/model_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "model/gguf_check.h"
#include "model/gguf_test_util.h"
#include "model/inspect.h"
#include "text/tokenizer.h"

namespace arkvale {
namespace {

using testing::GgufWriter;
using testing::Split;
using testing::TinyModel;

// Three parts on disk, and what to damage in them.
class SplitFile : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "split_" + std::to_string(getpid());
    std::filesystem::create_directories(directory_);
    parts_ = Split(TinyModel("qwen3moe"), 3);
    for (int i = 0; i < 3; ++i) parts_[i].Write(Path(i));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Path(int i) const { return directory_ + "/model-0000" + std::to_string(i + 1) + "-of-00003.gguf"; }

  // Opening the first part fails with `kind` and a message that names part `i` and says `what`.
  void ExpectRefused(int i, StatusKind kind, const std::string& what) const {
    const Status status = ModelFile::Open(Path(0)).status();
    EXPECT_EQ(status.kind(), kind) << status.ToString();
    EXPECT_NE(status.message().find(Path(i)), std::string::npos) << status.ToString();
    EXPECT_NE(status.message().find(what), std::string::npos) << status.ToString();
    EXPECT_EQ(CheckGgufFile(Path(0)).kind(), kind);
  }

  std::string directory_;
  std::vector<GgufWriter> parts_;
};

TEST_F(SplitFile, HoldsEveryTensorOfTheWhole) {
  const GgufWriter whole = TinyModel("qwen3moe");
  const auto file = ModelFile::Open(Path(0));
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  ASSERT_EQ(file->view().tensors().size(), whole.tensors.size());
  EXPECT_EQ(file->view().n_parts(), 3);
  for (const auto& want : whole.tensors) {
    const GgufTensor* got = file->view().FindTensor(want.name);
    ASSERT_NE(got, nullptr) << want.name;
    ASSERT_EQ(got->n_bytes, want.data.size());
    EXPECT_EQ(std::memcmp(file->view().Weight(*got).data, want.data.data(), want.data.size()), 0) << want.name;
  }
  EXPECT_TRUE(CheckGgufFile(Path(0)).ok()) << CheckGgufFile(Path(0)).ToString();
}

TEST_F(SplitFile, IsInspectedAndTokenisedAsOneModel) {
  const auto summary = InspectModel(Path(0));
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  EXPECT_EQ(summary->unsupported, "");
  EXPECT_EQ(summary->n_files, 3);
  EXPECT_EQ(summary->n_tensors, static_cast<int64_t>(TinyModel("qwen3moe").tensors.size()));
  int64_t bytes = 0;
  for (int i = 0; i < 3; ++i) bytes += static_cast<int64_t>(std::filesystem::file_size(Path(i)));
  EXPECT_EQ(summary->file_bytes, bytes);
  // libllama opens the other parts itself.
  const auto tokenizer = Tokenizer::Load(Path(0));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  EXPECT_EQ((*tokenizer)->n_vocab(), 300);
}

TEST_F(SplitFile, MissingPart) {
  std::filesystem::remove(Path(2));
  ExpectRefused(2, StatusKind::kNotFound, "part 3 of " + Path(0));
}

TEST_F(SplitFile, DamagedPart) {
  std::filesystem::resize_file(Path(1), std::filesystem::file_size(Path(1)) / 2);
  ExpectRefused(1, StatusKind::kCorrupt, "ends");
}

TEST_F(SplitFile, PartInAnothersPlace) {
  std::filesystem::copy_file(Path(2), Path(1), std::filesystem::copy_options::overwrite_existing);
  ExpectRefused(1, StatusKind::kCorrupt, "split.no is 2, expected 1");
  TinyModel("qwen3moe").Write(Path(1));
  ExpectRefused(1, StatusKind::kCorrupt, "split.no is missing");
}

TEST_F(SplitFile, ForeignPart) {
  Split(TinyModel("llama"), 3)[1].Write(Path(1));
  ExpectRefused(1, StatusKind::kCorrupt, "another model than " + Path(0));
  Split(TinyModel("qwen3moe"), 4)[1].Write(Path(1));
  ExpectRefused(1, StatusKind::kCorrupt, "another model than " + Path(0));
  parts_[1].tensors.push_back(parts_[0].tensors[0]);
  parts_[1].Write(Path(1));
  ExpectRefused(1, StatusKind::kCorrupt, "'token_embd.weight' is in another part too");
}

// libllama aborts where these have another type.
TEST_F(SplitFile, PartWithKeysOfAnotherType) {
  parts_[1].U32("split.no", 1);
  parts_[1].Write(Path(1));
  ExpectRefused(1, StatusKind::kCorrupt, "split.no is u32, expected u16");
}

TEST_F(SplitFile, TensorsThatNoPartHolds) {
  parts_[2].tensors.pop_back();
  parts_[2].Write(Path(2));
  ExpectRefused(0, StatusKind::kCorrupt, "tensors, key split.tensors.count says");
}

TEST_F(SplitFile, OnlyTheFirstPartOpensIt) {
  const Status second = ModelFile::Open(Path(1)).status();
  EXPECT_EQ(second.kind(), StatusKind::kInvalidArgument);
  EXPECT_NE(second.message().find("part 2 of 3"), std::string::npos) << second.ToString();
  const std::string renamed = directory_ + "/model.gguf";
  std::filesystem::rename(Path(0), renamed);
  const Status status = ModelFile::Open(renamed).status();
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
  EXPECT_NE(status.message().find("does not end in -00001-of-00003.gguf"), std::string::npos) << status.ToString();
}

TEST_F(SplitFile, OnePartIsAnOrdinaryFile) {
  const std::string path = directory_ + "/one.gguf";
  Split(TinyModel("llama"), 1)[0].Write(path);
  EXPECT_TRUE(CheckGgufFile(path).ok()) << CheckGgufFile(path).ToString();
}

}  // namespace
}  // namespace arkvale
