#include "tools/eval/records.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/sha256.h"
#include "kv/select.h"
#include "tools/common/build_info.h"
#include "tools/common/plan_input.h"

namespace arkvale::tools {
namespace {

constexpr size_t kHashPrefix = 16;

// What decides a record: one with equal values is the same work.
constexpr std::array kIdentity = {"schema",       "task",          "model",       "model_sha256_prefix",
                                  "policy",       "budget_tokens", "page_tokens", "digest",
                                  "topk_pages",   "kv_group",      "sink_pages",  "window_pages",
                                  "dense_layers", "kv_type",       "kv_opt",      "audit_every",
                                  "rope",         "feed",          "seed",        "device",
                                  "threads",      "commit",        "record_id",   "max_new_tokens",
                                  "plan",         "zone"};

std::string Identity(const Json& record) {
  Json identity;
  for (const char* name : kIdentity) identity[name] = record.contains(name) ? record[name] : Json(nullptr);
  return Dump(identity);
}

Status Unwritable(const std::string& path, const std::string& reason) {
  return Internal(path + " cannot be written: " + reason);
}

Status WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text << std::flush;
  return file.good() ? OkStatus() : Unwritable(path, std::strerror(errno));
}

std::string RopeName(const EngineOptions& engine) {
  if (engine.rope_scaling == RopeScaling::kModel && engine.rope_scale == 0) return "";
  constexpr std::array kNames = {"model", "none", "linear", "yarn"};  // as RopeScaling has them
  return std::string(kNames.at(static_cast<size_t>(engine.rope_scaling))) + " " + Json(engine.rope_scale).dump();
}

// Over the layers that have a budget of their own.
Json MeanTopk(const KvOptions& options) {
  double sum = 0, n = 0;
  for (size_t l = 0; l < options.layer_budget_tokens.size(); ++l) {
    if (options.layer_budget_tokens[l] == 0) continue;
    sum += MakePageBudget(options, static_cast<int32_t>(l), true).topk;
    ++n;
  }
  return sum / n;
}

}  // namespace

const char* FeedingName(Feeding feeding) { return feeding == Feeding::kJoint ? "joint" : "3stage"; }

Result<Feeding> ParseFeeding(const std::string& name) {
  for (const Feeding feeding : {Feeding::kThreeStage, Feeding::kJoint}) {
    if (name == FeedingName(feeding)) return feeding;
  }
  return InvalidArgument("--feed '" + name + "' is unknown: use 3stage or joint");
}

Result<RunInfo> RunInfo::Make(const std::string& task, const EngineOptions& engine, const std::string& kv_opt,
                              int32_t threads) {
  ARKVALE_ASSIGN_OR_RETURN(const std::string hash, FileSha256Hex(engine.model_path));
  return RunInfo{.task = task,
                 .model = std::filesystem::path(engine.model_path).filename().string(),
                 .model_sha256_prefix = hash.substr(0, kHashPrefix),
                 .kv_opt = kv_opt,
                 .rope = RopeName(engine),
                 .kv_type = engine.kv_type,
                 .threads = threads,
                 .plans = {}};
}

std::string PlanName(const RunInfo& run, const KvOptions& options) {
  for (const NamedPlan& plan : run.plans) {
    if (std::find(plan.options.begin(), plan.options.end(), options) != plan.options.end()) return plan.name;
  }
  return "";
}

std::string ZoneName(const KvOptions& o) {
  const std::string tokens = o.zone_tokens == kZoneAll ? "all" : std::to_string(o.zone_tokens);
  return o.zone_value_bits == 2 ? tokens : tokens + ":" + std::to_string(o.zone_value_bits);
}

Json CellFields(const RunInfo& run, const KvOptions& o) {
  const bool full = o.policy == KvPolicyKind::kFull;
  const auto unless_full = [&](Json value) { return full ? Json(nullptr) : std::move(value); };
  const bool pages = !full && BudgetsPages(o.policy);
  const auto of_pages = [&](Json value) { return pages ? std::move(value) : Json(nullptr); };
  const std::string commit = Commit();
  const std::string plan = PlanName(run, o);
  return {{"schema", "arkvale.eval/1"},
          {"task", run.task},
          {"model", run.model},
          {"model_sha256_prefix", run.model_sha256_prefix},
          {"policy", KvPolicyName(o.policy)},
          {"plan", plan.empty() ? Json(nullptr) : Json(plan)},
          {"budget_tokens", unless_full(MeanBudgetTokens(o))},
          {"page_tokens", of_pages(o.page_tokens)},
          {"digest", of_pages(DigestName(o.ResolvedDigest()))},
          {"zone", o.ReadsZone() ? Json(ZoneName(o)) : Json(nullptr)},
          {"topk_pages", of_pages(plan.empty() ? Json(MakePageBudget(o, o.dense_layers, true).topk) : MeanTopk(o))},
          {"kv_group", of_pages(o.group_heads)},
          {"sink_pages", of_pages(o.sink_pages)},
          {"window_pages", of_pages(o.window_pages)},
          {"dense_layers", unless_full(o.dense_layers)},
          {"kv_type", KvTypeName(run.kv_type)},
          {"kv_opt", unless_full(run.kv_opt)},
          {"audit_every", of_pages(o.audit_every)},
          {"rope", run.rope.empty() ? Json(nullptr) : Json(run.rope)},
          {"feed", FeedingName(run.feeding)},
          {"device", "cpu"},
          {"threads", run.threads},
          {"commit", commit.empty() ? Json(nullptr) : Json(commit)}};
}

double RecallsPerStep(const KvStats& stats) {
  return stats.steps == 0 ? 0 : static_cast<double>(stats.counters.recalled) / static_cast<double>(stats.steps);
}

Json StatsFields(const KvStats& stats) {
  const bool audited = stats.audit.samples > 0;
  return {{"kv_hot_bytes", stats.hot_bytes_peak},
          {"kv_total_bytes", stats.total_bytes},
          {"digest_bytes", stats.digest_bytes},
          {"kv_step_bytes", stats.step_bytes},
          {"hot_tokens_per_layer_mean", stats.hot_tokens_per_layer()},
          {"recalls_per_step_mean", RecallsPerStep(stats)},
          {"audit_recall", audited ? Json(stats.audit.set_recall()) : Json(nullptr)},
          {"audit_mass_recall", audited ? Json(stats.audit.mass_recall()) : Json(nullptr)}};
}

Result<std::unique_ptr<TextFile>> TextFile::Open(const std::string& path, bool append) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0666);
  if (fd < 0) return Unwritable(path, std::strerror(errno));
  return std::unique_ptr<TextFile>(new TextFile(fd));
}

TextFile::~TextFile() { close(fd_); }

Result<std::unique_ptr<RecordLog>> RecordLog::Open(const std::string& dir, bool json, bool resume) {
  std::unique_ptr<RecordLog> log(new RecordLog(dir, json));
  if (dir.empty()) return log;
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return Unwritable(dir, error.message());
  const std::string path = dir + "/records.jsonl";
  if (resume) ARKVALE_RETURN_IF_ERROR(log->LoadEarlier(path));
  ARKVALE_ASSIGN_OR_RETURN(log->file_, TextFile::Open(path, resume));
  return log;
}

// A run that was killed may have left half a line: it goes.
Status RecordLog::LoadEarlier(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream stream;
  stream << file.rdbuf();
  const std::string text = stream.str();
  const size_t end = text.rfind('\n');
  const size_t whole = end == std::string::npos ? 0 : end + 1;
  if (whole < text.size()) {
    std::error_code error;
    std::filesystem::resize_file(path, whole, error);
    if (error) return Unwritable(path, error.message());
  }
  std::istringstream lines(text.substr(0, whole));
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("record") && json["record"].is_object()) {
      earlier_[Identity(json["record"])] = json["record"];
    }
  }
  return OkStatus();
}

const Json* RecordLog::Find(const Json& record) const {
  const auto found = earlier_.find(Identity(record));
  return found == earlier_.end() ? nullptr : &found->second;
}

Status RecordLog::Write(const Json& record) {
  if (file_ != nullptr) ARKVALE_RETURN_IF_ERROR(file_->Write(Dump({{"record", record}})));
  return Repeat(record);
}

Status RecordLog::Repeat(const Json& record) { return json_ ? Stdout().Write(Dump({{"record", record}})) : OkStatus(); }

Status RecordLog::Finish(const Json& summary, const std::string& markdown) {
  const std::string line = Dump({{"summary", summary}});
  if (!dir_.empty()) {
    ARKVALE_RETURN_IF_ERROR(WriteFile(dir_ + "/summary.json", line));
    ARKVALE_RETURN_IF_ERROR(WriteFile(dir_ + "/summary.md", markdown));
  }
  return Stdout().Write(json_ ? line : markdown);
}

std::string Short(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

std::string WithInterval(double value, double lo, double hi) {
  return Short(value) + " [" + Short(lo) + ", " + Short(hi) + "]";
}

}  // namespace arkvale::tools
