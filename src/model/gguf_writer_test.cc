#include "model/gguf_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "ggml.h"
#include "model/mapped_file.h"

namespace arkvale {
namespace {

namespace fs = std::filesystem;

class GgufFileWriterTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(dir_); }
  void TearDown() override { fs::remove_all(dir_); }
  size_t FilesInDir() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()));
  }

  const fs::path dir_ = fs::path(::testing::TempDir()) / ("gguf_writer_test-" + std::to_string(getpid()));
  const std::string path_ = (dir_ / "model.gguf").string();
};

std::span<const std::byte> Bytes(std::span<const float> values) { return std::as_bytes(values); }

constexpr std::array<int64_t, 2> kShape = {5, 3};
constexpr std::array<int64_t, 1> kVector = {7};
constexpr std::array<int64_t, 3> kExperts = {32, 2, 2};

TEST_F(GgufFileWriterTest, WhatIsWrittenIsRead) {
  std::vector<float> matrix(15), vector(7);
  std::iota(matrix.begin(), matrix.end(), 1.0f);
  std::iota(vector.begin(), vector.end(), 100.0f);
  const std::vector<std::byte> experts(4 * ggml_row_size(GGML_TYPE_Q4_0, 32), std::byte{7});
  GgufFileWriter file(path_);
  file.U32("a.u32", 7);
  file.U16("a.u16", 9);
  file.I32("a.i32", -3);
  file.F32("a.f32", 0.5f);
  file.Bool("a.bool", true);
  file.String("a.text", "words");
  file.I32s("a.ints", std::vector<int32_t>{3, -4});
  file.Strings("a.texts", std::vector<std::string>{"x", "", "yz"});
  file.Tensor("matrix", kShape, GGML_TYPE_F32);
  file.Tensor("experts", kExperts, GGML_TYPE_Q4_0);
  file.Tensor("vector", kVector, GGML_TYPE_F32);
  EXPECT_EQ(file.tensor_bytes(), 60 + 72 + 28);
  ASSERT_TRUE(file.Begin().ok());
  ASSERT_TRUE(file.Append(Bytes(matrix).first(11)).ok());  // pieces end anywhere
  ASSERT_TRUE(file.Append(Bytes(matrix).subspan(11)).ok());
  ASSERT_TRUE(file.Append(experts).ok());
  ASSERT_TRUE(file.Append(Bytes(vector)).ok());
  EXPECT_FALSE(fs::exists(path_)) << "only a whole file has the name";
  ASSERT_TRUE(file.Finish().ok());
  EXPECT_EQ(FilesInDir(), 1u);

  const auto mapped = MappedFile::Open(path_);
  ASSERT_TRUE(mapped.ok());
  const auto view = GgufView::Parse(mapped->bytes(), path_);
  ASSERT_TRUE(view.ok()) << view.status().ToString();
  EXPECT_EQ(**view->U32("a.u32"), 7u);
  EXPECT_EQ(**view->U16("a.u16"), 9);
  EXPECT_EQ(**view->I32("a.i32"), -3);
  EXPECT_EQ(**view->F32("a.f32"), 0.5f);
  EXPECT_EQ(**view->Bool("a.bool"), true);
  EXPECT_EQ(**view->String("a.text"), "words");
  EXPECT_EQ(**view->Strings("a.texts"), (std::vector<std::string_view>{"x", "", "yz"}));
  const GgufValue* ints = view->Find("a.ints");
  ASSERT_TRUE(ints != nullptr && ints->type == GgufType::kArray && ints->element == GgufType::kI32);
  ASSERT_EQ(view->tensors().size(), 3u);
  for (const GgufTensor& t : view->tensors()) EXPECT_EQ(t.offset % GgufFileWriter::kAlignment, 0u) << t.name;
  const auto data = [&](const char* name) { return view->Weight(*view->FindTensor(name)).data; };
  EXPECT_EQ(std::memcmp(data("matrix"), matrix.data(), 60), 0);
  EXPECT_EQ(std::memcmp(data("experts"), experts.data(), 72), 0);
  EXPECT_EQ(std::memcmp(data("vector"), vector.data(), 28), 0);

  // Every kind of value survives a copy.
  GgufFileWriter copy((dir_ / "copy.gguf").string());
  for (const auto key : view->keys()) copy.Copy(key, *view->Find(key));
  ASSERT_TRUE(copy.Begin().ok());
  ASSERT_TRUE(copy.Finish().ok());
  const auto mapped_copy = MappedFile::Open((dir_ / "copy.gguf").string());
  const auto view_copy = GgufView::Parse(mapped_copy->bytes(), "copy");
  ASSERT_TRUE(view_copy.ok()) << view_copy.status().ToString();
  EXPECT_EQ(view_copy->keys(), view->keys());
  for (const auto key : view->keys()) {
    const GgufValue &a = *view->Find(key), &b = *view_copy->Find(key);
    EXPECT_TRUE(a.type == b.type && a.element == b.element && a.count == b.count &&
                std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end()))
        << key;
  }
}

TEST_F(GgufFileWriterTest, WrongAmountOfDataIsInternal) {
  GgufFileWriter file(path_);
  file.Tensor("vector", kVector, GGML_TYPE_F32);
  ASSERT_TRUE(file.Begin().ok());
  const std::vector<float> values(8);
  ASSERT_TRUE(file.Append(Bytes(values).first(24)).ok());
  EXPECT_EQ(file.Finish().kind(), StatusKind::kInternal);
  EXPECT_EQ(file.Append(Bytes(values)).kind(), StatusKind::kInternal);
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(GgufFileWriterTest, WithoutFinishNothingIsLeftAndTheOldFileStays) {
  std::FILE* old = std::fopen(path_.c_str(), "w");
  std::fputs("old", old);
  std::fclose(old);
  {
    GgufFileWriter file(path_);
    file.Tensor("vector", kVector, GGML_TYPE_F32);
    ASSERT_TRUE(file.Begin().ok());
    EXPECT_EQ(FilesInDir(), 2u);
  }
  EXPECT_EQ(FilesInDir(), 1u);
  EXPECT_EQ(fs::file_size(path_), 3u);
}

TEST_F(GgufFileWriterTest, UnknownFolderIsNotFound) {
  GgufFileWriter file((dir_ / "none/model.gguf").string());
  const Status status = file.Begin();
  EXPECT_EQ(status.kind(), StatusKind::kNotFound) << status.ToString();
}

TEST_F(GgufFileWriterTest, NoRoomIsResourceExhausted) {
  constexpr std::array<int64_t, 2> kHuge = {1 << 20, 1 << 30};  // 4 PiB
  GgufFileWriter huge(path_);
  huge.Tensor("huge", kHuge, GGML_TYPE_F32);
  EXPECT_EQ(huge.Begin().kind(), StatusKind::kResourceExhausted);

  // A limit on file sizes stands in for a disk that fills up while we write.
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 1 << 16, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  constexpr std::array<int64_t, 2> kLarge = {1 << 10, 1 << 10};
  Status status;
  {
    GgufFileWriter file(path_);
    file.Tensor("large", kLarge, GGML_TYPE_F32);
    status = file.Begin();
    const std::vector<float> values(1 << 20);
    if (status.ok()) status = file.Append(Bytes(values));
    if (status.ok()) status = file.Finish();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(status.kind(), StatusKind::kResourceExhausted) << status.ToString();
  EXPECT_EQ(FilesInDir(), 0u);
}

}  // namespace
}  // namespace arkvale
