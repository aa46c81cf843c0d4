// Cli: the command line of one command: CLI11 with our exit codes and one-line errors. CLI11's own header takes longer
// to compile than most commands: only who calls it includes it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arkvale/status.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace arkvale::tools {

// "512MiB", "8GiB", "1000" -> bytes. Units B, KiB, MiB, GiB, TiB (powers of 1024) and kB, MB, GB, TB (powers of 1000).
Result<int64_t> ParseSize(std::string_view text);

// "128,2048" -> {128, 2048}; every number must be >= `min`. `what` names the flag in errors.
Result<std::vector<int64_t>> ParseNumbers(std::string_view what, std::string_view text, int64_t min);

// Splits at commas; empty parts are kept.
std::vector<std::string> SplitCommas(std::string_view text);

// The candidate nearest to `word` by edit distance, or empty where none is near.
std::string Nearest(std::string_view word, const std::vector<std::string>& candidates);

class Cli {
 public:
  Cli(const std::string& command, const std::string& description);
  ~Cli();

  // Options are added here, without ->required(): an unknown flag must be reported before a missing one.
  CLI::App& app() { return *app_; }
  // Parse() fails with wrong usage where the option is missing.
  void Require(CLI::Option* option) { required_.push_back(option); }

  // Parses what follows the command's name. An exit code means that the program ends: 0 after --help, 2 after a usage
  // error, which has been printed.
  std::optional<int> Parse(int argc, char** argv);

  // Parse, then the command, whose failure is told by Fail: the exit code.
  int Run(int argc, char** argv, const std::function<Status()>& command);

  // Prints "arkvale COMMAND: message" on stderr and returns the status' exit code. Silent for Cancelled.
  int Fail(const Status& status) const;

 private:
  Status Check() const;

  std::string command_;
  std::unique_ptr<CLI::App> app_;
  std::vector<CLI::Option*> required_;
};

// The option of this name, which has been added.
const CLI::Option* FindOption(Cli& cli, const std::string& flag);
// Whether a parsed command line has the option; false for null.
bool Given(const CLI::Option* option);
// Its first value as it was written; empty where it was not given.
std::string GivenText(const CLI::Option* option);

// Flags under one heading of --help.
class FlagGroup {
 public:
  // `cli` outlives it.
  FlagGroup(Cli& cli, std::string name) : app_(cli.app()), name_(std::move(name)) {}

  // `type` and `shown`: what --help says of the value and of its default. cli.cc instantiates the types.
  template <typename T>
  CLI::Option* Add(const char* flag, T& value, const char* type, const std::string& text, const char* shown) const;
  CLI::Option* AddSwitch(const char* flag, bool& value, const char* text) const;

 private:
  CLI::App& app_;
  std::string name_;
};

}  // namespace arkvale::tools
