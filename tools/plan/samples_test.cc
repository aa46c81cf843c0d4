// Samples from files, on a tiny model.
#include "tools/plan/samples.h"

#include <gtest/gtest.h>

#include <fstream>

#include "model/gguf_test_util.h"

namespace arkvale::tools {
namespace {

class SamplesTest : public ::testing::Test {
 protected:
  // A vocabulary with a token for each byte.
  void SetUp() override {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    base_ = ::testing::TempDir() + "arkvale_samples_" + name;
    testing::TinyModel("gemma2").Write(base_ + ".gguf");
    auto runtime = Runtime::Load({.model_path = base_ + ".gguf", .threads = 1});
    ASSERT_TRUE(runtime.ok()) << runtime.status().ToString();
    runtime_ = std::move(*runtime);
  }

  std::string File(const std::string& suffix, const std::string& text) const {
    std::ofstream(base_ + suffix) << text;
    return base_ + suffix;
  }

  // Of `plan` with these arguments.
  Result<std::vector<PlanSample>> Read(std::vector<std::string> arguments) const {
    Cli cli("plan", "");
    SampleFlags flags;
    flags.Add(cli);
    std::vector<char*> argv = {const_cast<char*>("plan")};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    if (cli.Parse(static_cast<int>(argv.size()), argv.data())) return InvalidArgument("usage");
    ARKVALE_RETURN_IF_ERROR(flags.Check());
    return flags.Read(*runtime_);
  }
  std::string Error(std::vector<std::string> arguments) const { return Read(std::move(arguments)).status().message(); }

  std::string base_;
  std::unique_ptr<Runtime> runtime_;
};

TEST_F(SamplesTest, LinesAreSamplesAndTheMiddleIsCut) {
  const std::string path =
      File(".jsonl", "{\"text\":\"abcdefgh\"}\n\n{\"text\":\"xy\", \"other\":1}\n{\"text\":\"\"}\n");
  const auto whole = Read({"--samples", path});
  ASSERT_TRUE(whole.ok()) << whole.status().ToString();
  ASSERT_GE(whole->size(), 2U);
  EXPECT_TRUE(whole->at(1).name.ends_with(".jsonl:3")) << whole->at(1).name;
  const auto cut = Read({"--samples", path, "--max-prompt", "4"});
  ASSERT_TRUE(cut.ok());
  const auto &all = whole->at(0).ids, &kept = cut->at(0).ids;
  EXPECT_EQ(kept, (std::vector<int32_t>{all[0], all[1], all[all.size() - 2], all[all.size() - 1]}));
}

TEST_F(SamplesTest, ABookIsCutIntoWholeWindows) {
  const std::string path = File(".txt", std::string(100, 'a') + std::string(100, 'b'));
  const auto one = Read({"--text", path, "--max-prompt", "256"});
  ASSERT_TRUE(one.ok());
  ASSERT_EQ(one->size(), 1U);
  const auto windows = Read({"--text", path + "," + path, "--max-prompt", "48"});
  ASSERT_TRUE(windows.ok());
  const size_t per_book = one->at(0).ids.size() / 48;
  ASSERT_EQ(windows->size(), 2 * per_book);
  for (size_t w = 0; w < per_book; ++w) {
    const auto from = one->at(0).ids.begin() + static_cast<int64_t>(48 * w);
    EXPECT_EQ(windows->at(w).ids, std::vector<int32_t>(from, from + 48)) << w;
    EXPECT_EQ(windows->at(w).ids, windows->at(per_book + w).ids);
  }
}

TEST_F(SamplesTest, RecordsTakeATemplate) {
  const std::string record =
      R"({"_id":"1","input":"who?","context":"text","answers":["x"],"length":2,"all_classes":null})";
  const std::string path = File(".jsonl", record + "\n");
  const auto joint = Read({"--samples", path, "--template", "T{context}Q{input}A", "--chat", "off"});
  const auto context =
      Read({"--samples", path, "--template", "T{context}Q{input}A", "--chat", "off", "--feed", "3stage"});
  ASSERT_TRUE(joint.ok() && context.ok()) << joint.status().ToString() << context.status().ToString();
  EXPECT_EQ(runtime_->tokenizer().Decode(joint->at(0).ids, false), "\u2581Ttext\u2581Qwho?A");
  EXPECT_EQ(runtime_->tokenizer().Decode(context->at(0).ids, false), "\u2581Ttext");
}

TEST_F(SamplesTest, ErrorsSayWhatToDo) {
  const std::string text = File(".txt", "text"), bad = File("_bad.jsonl", "{\"text\":\"a\"}\n{\"text\":1}\n");
  const std::string cut = File("_cut.jsonl", "{\"text\":"), none = File("_none.jsonl", "\n\n");
  const std::string record = File("_record.jsonl", R"({"context":"c"})");
  EXPECT_EQ(Error({}), "no samples: give one of --samples FILE and --text FILE");
  EXPECT_EQ(Error({"--samples", bad, "--text", text}),
            "both --samples and --text: give one of --samples FILE and --text FILE");
  EXPECT_EQ(Error({"--samples", bad}), bad + ":2: no \"text\", or none that is a string");
  EXPECT_EQ(Error({"--samples", cut}), cut + ":1: not a JSON object: one {\"text\": ...} a line is wanted");
  EXPECT_EQ(Error({"--samples", none}), none + ": no sample in it");
  EXPECT_EQ(Error({"--samples", record}),
            record + ":1: no \"text\", but a \"context\": give LongBench's records a --template, as --template qasper");
  EXPECT_TRUE(Error({"--samples", base_ + "_missing"}).starts_with(base_ + "_missing: cannot be read"));
  EXPECT_EQ(Error({"--samples", bad, "--template", "{input}"}),
            "--template '{input}' has no {context}: name a set of LongBench, or write a text with it");
  EXPECT_EQ(Error({"--text", text, "--template", "qasper"}), "--template is for --samples, not for --text");
  EXPECT_NE(Error({"--samples", bad, "--template", "qaspre"}), "");
  EXPECT_NE(Error({"--text", text, "--max-prompt", "99999"}), "");
}

}  // namespace
}  // namespace arkvale::tools
