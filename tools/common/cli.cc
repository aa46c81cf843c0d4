#include "tools/common/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <limits>
#include <utility>

#include "tools/common/exit_code.h"
#include "tools/common/output.h"

namespace arkvale::tools {
namespace {

struct Unit {
  std::string_view name;
  int64_t bytes;
};

constexpr auto kUnits = std::to_array<Unit>({
    {"", 1},
    {"B", 1},
    {"KiB", int64_t{1} << 10},
    {"MiB", int64_t{1} << 20},
    {"GiB", int64_t{1} << 30},
    {"TiB", int64_t{1} << 40},
    {"kB", 1'000},
    {"MB", 1'000'000},
    {"GB", 1'000'000'000},
    {"TB", 1'000'000'000'000},
});

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

std::vector<std::string> FlagNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

// "--model", or the name of a positional argument.
std::string OptionName(const CLI::Option& option) {
  const auto& names = option.get_lnames();
  return names.empty() ? option.get_name(true) : "--" + names.front();
}

// CLI11's own messages may span lines.
std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

Result<int64_t> ParseSize(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  const std::string_view name(end, text.data() + text.size() - end);
  const auto* unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == name; });
  const double bytes = unit == kUnits.end() ? -1 : number * static_cast<double>(unit->bytes);
  if (error != std::errc() || !(bytes >= 0) || bytes >= 9.2e18) {
    return InvalidArgument("size '" + std::string(text) + "' is not a number with a unit: write it as 512MiB or 8GiB");
  }
  return static_cast<int64_t>(bytes);
}

Result<std::vector<int64_t>> ParseNumbers(std::string_view what, std::string_view text, int64_t min) {
  std::vector<int64_t> numbers;
  for (const std::string& part : SplitCommas(text)) {
    int64_t n = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), n);
    if (error != std::errc() || end != part.data() + part.size() || n < min) {
      return InvalidArgument(std::string(what) + ": '" + part + "' is not a whole number >= " + std::to_string(min));
    }
    numbers.push_back(n);
  }
  return numbers;
}

std::vector<std::string> SplitCommas(std::string_view text) {
  std::vector<std::string> parts;
  for (size_t start = 0;;) {
    const size_t comma = std::min(text.find(',', start), text.size());
    parts.emplace_back(text.substr(start, comma - start));
    if (comma == text.size()) return parts;
    start = comma + 1;
  }
}

std::string Nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::numeric_limits<size_t>::max();
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best_distance <= std::max<size_t>(2, word.size() / 3) ? best : "";
}

Cli::Cli(const std::string& command, const std::string& description)
    : command_("arkvale" + (command.empty() ? "" : " " + command)),
      app_(std::make_unique<CLI::App>(description, command_)) {
  app_->allow_extras();
  app_->get_formatter()->column_width(34);
}

Cli::~Cli() = default;

std::optional<int> Cli::Parse(int argc, char** argv) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const Status written = Stdout().Write(app_->help());
    return written.ok() ? kExitDone : Fail(written);
  } catch (const CLI::Error& error) {
    return Fail(InvalidArgument(OneLine(error.what())));
  }
  const Status status = Check();
  if (!status.ok()) return Fail(status);
  return std::nullopt;
}

Status Cli::Check() const {
  const std::vector<std::string> extras = app_->remaining();
  if (!extras.empty()) {
    const auto flag = std::find_if(extras.begin(), extras.end(), [](const auto& e) { return e.starts_with("-"); });
    if (flag == extras.end()) return InvalidArgument("unexpected argument '" + extras.front() + "': see --help");
    const std::string name = flag->substr(0, flag->find('='));
    const std::string nearest = Nearest(name, FlagNames(*app_));
    return InvalidArgument("unknown flag " + name +
                           (nearest.empty() ? ": see --help" : ": did you mean " + nearest + "?"));
  }
  for (const CLI::Option* option : required_) {
    if (option->count() == 0) return InvalidArgument(OptionName(*option) + " is missing: see --help");
  }
  return OkStatus();
}

int Cli::Run(int argc, char** argv, const std::function<Status()>& command) {
  if (const auto exit_code = Parse(argc, argv)) return *exit_code;
  const Status status = command();
  return status.ok() ? kExitDone : Fail(status);
}

int Cli::Fail(const Status& status) const {
  if (status.kind() != StatusKind::kCancelled && !Stdout().closed()) {
    std::fprintf(stderr, "%s: %s\n", command_.c_str(), status.message().c_str());
  }
  return ExitCode(status);
}

const CLI::Option* FindOption(Cli& cli, const std::string& flag) { return cli.app().get_option(flag); }

bool Given(const CLI::Option* option) { return option != nullptr && option->count() > 0; }

std::string GivenText(const CLI::Option* option) { return Given(option) ? option->results().front() : ""; }

template <typename T>
CLI::Option* FlagGroup::Add(const char* flag, T& value, const char* type, const std::string& text,
                            const char* shown) const {
  return app_.add_option(flag, value, text)->type_name(type)->default_str(shown)->group(name_);
}

template CLI::Option* FlagGroup::Add(const char*, std::string&, const char*, const std::string&, const char*) const;
template CLI::Option* FlagGroup::Add(const char*, int32_t&, const char*, const std::string&, const char*) const;
template CLI::Option* FlagGroup::Add(const char*, int64_t&, const char*, const std::string&, const char*) const;
template CLI::Option* FlagGroup::Add(const char*, double&, const char*, const std::string&, const char*) const;

CLI::Option* FlagGroup::AddSwitch(const char* flag, bool& value, const char* text) const {
  return app_.add_flag(flag, value, text)->group(name_);
}

}  // namespace arkvale::tools
