// Flags and their values: sizes, lists, budgets, --kv-opt. Any command line gives options that keep their own rules, or
// an error with a message.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "tools/common/cli.h"
#include "tools/common/kv_flags.h"

namespace arkvale::tools {
namespace {

void CheckFlags(const std::vector<std::string>& words) {
  Cli cli("fuzz", "");
  EngineFlags engine;
  KvFlags kv;
  engine.Add(cli);
  kv.Add(cli, true);
  try {
    // Last word first, as CLI11 wants a list.
    cli.app().parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::Error&) {
    return;
  }
  (void)engine.Get();
  const auto options = kv.Get();
  if (!options.ok()) {
    ARKVALE_CHECK(!options.status().message().empty());
    return;
  }
  if (!options->Validate(30, 3).ok()) return;
  ARKVALE_CHECK(options->budget_tokens >= 0 || options->budget_tokens == kAutoBudget);
  const KvOptions rounded = RoundBudget(*options);
  if (BudgetsPages(options->policy) && rounded.budget_tokens > 0) {
    ARKVALE_CHECK(rounded.budget_tokens % options->page_tokens == 0 && rounded.Validate(30, 3).ok());
  }
}

}  // namespace
}  // namespace arkvale::tools

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace arkvale;
  using namespace arkvale::tools;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto bytes = ParseSize(text); bytes.ok()) ARKVALE_CHECK(*bytes >= 0);
  if (const auto numbers = ParseNumbers("--n", text, 1); numbers.ok()) {
    for (const int64_t n : *numbers) ARKVALE_CHECK(n >= 1);
  }
  (void)Nearest(text, {"--kv-budget", "--kv-page"});
  std::vector<std::string> words;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    words.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  CheckFlags(words);
  return 0;
}
