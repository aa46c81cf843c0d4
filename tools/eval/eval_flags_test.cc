#include "tools/eval/eval_flags.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/sha256.h"
#include "tools/eval/cell_records.h"

namespace arkvale::tools {
namespace {

// A task that asks questions, told `args`.
class Task {
 public:
  explicit Task(std::vector<std::string> args) {
    const FlagGroup group(cli_, "Records");
    flags.AddLimit(group, "only the first records", "all");
    flags.AddFeed(group);
    flags.Add(cli_);
    flags.AddRunCells(cli_);
    args.insert(args.begin(), {"test", "-m", "m.gguf"});
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    EXPECT_EQ(cli_.Parse(static_cast<int>(argv.size()), argv.data()), std::nullopt);
  }

  EvalFlags flags;

 private:
  Cli cli_{"eval test", ""};
};

void ExpectRefused(const Status& status, const std::string& message) {
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
  EXPECT_EQ(status.message(), message);
}

TEST(EvalFlags, FeedIsThreeStageUnlessJointIsAskedFor) {
  EXPECT_EQ(*Task({}).flags.feeding(), Feeding::kThreeStage);
  EXPECT_EQ(*Task({"--feed", "3stage"}).flags.feeding(), Feeding::kThreeStage);
  EXPECT_EQ(*Task({"--feed", "joint"}).flags.feeding(), Feeding::kJoint);
  ExpectRefused(Task({"--feed", "Joint"}).flags.feeding().status(), "--feed 'Joint' is unknown: use 3stage or joint");
}

TEST(EvalFlags, LimitKeepsTheFirstRecords) {
  EXPECT_EQ(*Task({}).flags.limit(), 0);
  EXPECT_EQ(*Task({"--limit", "3"}).flags.limit(), 3);
  for (const char* wrong : {"0", "-1"}) {
    ExpectRefused(Task({"--limit", wrong}).flags.limit().status(), std::string("--limit ") + wrong + ": use 1 or more");
  }
  EXPECT_EQ(*EvalFlags().limit(), 0) << "a task without the flag";
  for (const auto& [limit, left] : {std::pair{0, 3}, {2, 2}, {3, 3}, {9, 3}}) {
    std::vector<int> records = {7, 8, 9};
    KeepFirst(limit, records);
    ASSERT_EQ(records.size(), static_cast<size_t>(left)) << limit;
    EXPECT_EQ(records.front(), 7);
  }
}

// Three layers. "xkv 40": a plan for xkv that gives layer 1 forty tokens; any other text is one for arkvale with pages
// of 16.
Status Apply(std::string_view text, KvOptions& options) {
  if (text == "bad") return Corrupt("no plan");
  const bool tokens = text.starts_with("xkv ");
  options.policy = tokens ? KvPolicyKind::kXkv : KvPolicyKind::kArkvale;
  options.budget_tokens = 0;
  options.layer_budget_tokens = {0, tokens ? std::stoi(std::string(text.substr(4))) : 160, 240};
  if (!tokens) options.layer_topk_pages = {0, 3, 0};
  if (!tokens) options.page_tokens = 16;
  options.dense_layers = 1;
  return OkStatus();
}

std::string File(const std::string& name, const std::string& text) {
  const std::string path = ::testing::TempDir() + name;
  std::ofstream(path) << text;
  return path;
}

Result<EvalCells> Cells(std::vector<std::string> args, const std::string& policies = "quest") {
  args.insert(args.end(), {"--policies", policies, "--budgets", "512"});
  const CellPreset preset = {.policies = {}, .budgets = {}, .pages = {32}};
  return Task(std::move(args)).flags.CellsAndPlans(preset, {.n_layers = 3, .n_kv_heads = 2}, Apply);
}

TEST(EvalFlags, APlanIsACellOfItsPolicyPageAndEveryDigest) {
  const std::string pages = File("plan-a.json", "pages"), tokens = File("plan-b.json", "xkv 40");
  const auto cells = Cells({"--digests", "code1,code2", "--plans", pages + "," + tokens});
  ASSERT_TRUE(cells.ok()) << cells.status().ToString();
  ASSERT_EQ(cells->options.size(), 4u);
  EXPECT_EQ(cells->options[0].policy, KvPolicyKind::kQuest);
  EXPECT_EQ(cells->options[1].digest, DigestKind::kCode1);
  EXPECT_EQ(cells->options[2].digest, DigestKind::kCode2);
  EXPECT_EQ(cells->options[2].page_tokens, 16) << "the plan's, not the preset's";
  EXPECT_EQ(cells->options[3].policy, KvPolicyKind::kXkv);
  ASSERT_EQ(cells->plans.size(), 2u);
  EXPECT_EQ(cells->plans[0].name, "plan-a-" + Sha256Hex("pages").substr(0, 8));
  EXPECT_EQ(cells->plans[1].options, std::vector{cells->options[3]});

  RunInfo run{.task = "t", .model = "m", .model_sha256_prefix = "0", .kv_opt = "", .plans = cells->plans};
  const Json uniform = CellFields(run, cells->options[0]), planned = CellFields(run, cells->options[1]);
  EXPECT_EQ(uniform["plan"], nullptr);
  EXPECT_EQ(PolicyName(uniform), "quest");
  EXPECT_EQ(planned["plan"], cells->plans[0].name);
  EXPECT_EQ(PolicyName(planned), "arkvale, " + cells->plans[0].name);
  EXPECT_EQ(planned["budget_tokens"], 200) << "mean of 160 and 240";
  // Nominal 3 pages less 2 sinks and a window page: at least 1; the other layer's 15 pages less those 4: all 11.
  EXPECT_EQ(planned["topk_pages"], 6.0);
  EXPECT_EQ(CellFields(run, cells->options[3])["budget_tokens"], 140);
}

TEST(EvalFlags, AZoneIsACellOfItsOwnUnderCode2) {
  const std::string pages = File("plan-z.json", "pages");
  const auto cells =
      Cells({"--digests", "cuboid-mean,code2", "--zones", "0,512:4,all", "--plans", pages}, "arkvale,quest");
  ASSERT_TRUE(cells.ok()) << cells.status().ToString();
  std::vector<std::string> names;
  const RunInfo run{.task = "t", .model = "m", .model_sha256_prefix = "0", .kv_opt = "", .plans = cells->plans};
  for (const KvOptions& cell : cells->options) {
    const Json row = CellFields(run, cell);
    names.push_back(Name(row, "policy") + " " + SummaryName(row));
  }
  EXPECT_EQ(names, (std::vector<std::string>{"arkvale cuboid-mean", "arkvale code2", "arkvale code2, zone 512:4",
                                             "arkvale code2, zone all", "quest cuboid-max", "arkvale cuboid-mean",
                                             "arkvale code2", "arkvale code2, zone 512:4", "arkvale code2, zone all"}));
  EXPECT_EQ(cells->options[3].zone_value_bits, 2) << "the 4 of another zone";
  EXPECT_EQ(cells->plans[0].options.size(), 4u);
  EXPECT_EQ(Cells({"--kv-opt", "zone=64"}, "arkvale")->options[0].zone_tokens, 64) << "without --zones";
  ExpectRefused(Cells({"--digests", "code1", "--zones", "64"}, "arkvale").status(),
                "zone with digest code1: only code2 can stand for the keys; use it, or zone=0");
  EXPECT_NE(Cells({"--zones", "1k"}, "arkvale").status().message().find("1k"), std::string::npos);
  EXPECT_NE(Cells({"--zones", "64:3"}, "arkvale").status().message().find("zone-v"), std::string::npos);
}

TEST(EvalFlags, TopkThatIsGivenWinsOverAPlans) {
  const auto cells = Cells({"--plans", File("plan-topk.json", "pages"), "--kv-topk", "5"});
  ASSERT_TRUE(cells.ok()) << cells.status().ToString();
  EXPECT_TRUE(cells->options.back().layer_topk_pages.empty());
  EXPECT_EQ(cells->options.back().topk.pages, 5);
}

TEST(EvalFlags, PlansThatDoNotFitAreRefused) {
  const std::string pages = File("plan-c.json", "pages"), again = File("plan-d.json", "pages too");
  const auto refused = [](const std::vector<std::string>& args) { return Cells(args).status(); };
  const std::string same = pages + "," + again;
  EXPECT_NE(refused({"--plans", same}).message().find("plan-d-"), std::string::npos);
  ExpectRefused(refused({"--plans", pages, "--pages", "32,64"}),
                "--pages 32,64 lacks the 16 of plan " + pages + ": add it, or leave the plan out");
  ExpectRefused(refused({"--plans", pages, "--kv-page", "32"}),
                "--kv-page 32 beside plan " + pages + ", which says 16: leave one of them out");
  ExpectRefused(refused({"--plans", pages, "--kv-dense-layers", "2"}),
                "--kv-dense-layers 2 beside plan " + pages + ", which says 1: leave one of them out");
  const std::string bad = File("plan-e.json", "bad");
  EXPECT_EQ(refused({"--plans", bad}).kind(), StatusKind::kCorrupt);
  EXPECT_EQ(refused({"--plans", bad}).message(), bad + ": no plan");
  EXPECT_EQ(refused({"--plans", "/nowhere/p.json"}).kind(), StatusKind::kNotFound);
  EXPECT_EQ(refused({"--plans", File("plan-f.json", std::string(2 << 20, ' '))}).kind(), StatusKind::kCorrupt);
}

}  // namespace
}  // namespace arkvale::tools
