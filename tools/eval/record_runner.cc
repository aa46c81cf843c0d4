#include "tools/eval/record_runner.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "tools/common/interrupt.h"
#include "tools/eval/lockstep.h"

namespace arkvale::tools {

struct RecordRunner::Prefilled {
  RecordPrompt prompt;
  std::optional<Session> session;  // none where `error` says why
  std::string error;
};

namespace {

Json NullFields(Json json) {
  for (auto& value : json) value = nullptr;
  return json;
}

}  // namespace

std::string TimeLeft(double seconds_so_far, double work_done, double work_left) {
  if (work_done <= 0) return "";
  constexpr double kMinute = 60, kHour = 3600;
  const double seconds = seconds_so_far / work_done * work_left;
  std::array<char, 32> text{};
  if (seconds < 2 * kMinute) {
    std::snprintf(text.data(), text.size(), "%.0f s left", seconds);
  } else if (seconds < 2 * kHour) {
    std::snprintf(text.data(), text.size(), "%.0f min left", seconds / kMinute);
  } else {
    std::snprintf(text.data(), text.size(), "%.1f h left", seconds / kHour);
  }
  return text.data();
}

Status RecordRunner::Run(const EvalRecord& record) {
  const int64_t start_ns = NowNs();
  std::optional<Prefilled> prefilled;
  dense_ = nullptr;
  for (size_t c = 0; c < cells_.size(); ++c) {
    Json labels = record.labels(cells_[c]);
    ARKVALE_CHECK(labels["feed"] == FeedingName(record.feeding));
    if (const Json* earlier = log_.Find(labels); earlier != nullptr) {
      ARKVALE_RETURN_IF_ERROR(log_.Repeat(*earlier));
      records_.push_back(*earlier);
    } else {
      if (!prefilled) {
        ARKVALE_ASSIGN_OR_RETURN(prefilled, Prefill(record));
      }
      Show("answers", static_cast<int64_t>(c), static_cast<int64_t>(cells_.size()), "cells");
      ARKVALE_RETURN_IF_ERROR(RunCell(record, cells_[c], *prefilled, std::move(labels)));
    }
    if (c == 0) dense_ = records_.back();
  }
  ++n_done_;
  work_left_ -= record.work;
  if (prefilled) {
    work_done_ += record.work;
    seconds_ += MsSince(start_ns) / 1000;
  }
  return OkStatus();
}

const std::vector<Json>& RecordRunner::Finish() {
  progress_.Clear();
  return records_;
}

Status RecordRunner::RunCell(const EvalRecord& record, const KvOptions& options, const Prefilled& prefilled,
                             Json json) {
  const int64_t start_ns = NowNs();
  Json fields = NullFields(StatsFields({}));
  auto answer = Ask(record, options, prefilled, fields);
  if (answer.status().kind() == StatusKind::kCancelled) return answer.status();
  if (!answer.ok()) answer = Answer{.ids = {}, .text = "", .error = answer.status().message()};
  json.update({{"tokens_context", prefilled.prompt.context.size()},
               {"tokens_question", prefilled.prompt.question.size()},
               {"tokens_generated", answer->ids.size()}});
  if (record.judge) json.update(record.judge(*answer, dense_));
  json["error"] = answer->error.empty() ? Json(nullptr) : Json(answer->error);
  json.update(fields);
  json["wall_ms"] = MsSince(start_ns);
  progress_.Clear();
  ARKVALE_RETURN_IF_ERROR(log_.Write(json));
  records_.push_back(std::move(json));
  return OkStatus();
}

Result<RecordRunner::Prefilled> RecordRunner::Prefill(const EvalRecord& record) {
  Prefilled prefilled;
  ARKVALE_ASSIGN_OR_RETURN(prefilled.prompt, record.prompt());
  prefilled.error = prefilled.prompt.error;
  if (!prefilled.error.empty()) return prefilled;
  const bool joint = record.feeding == Feeding::kJoint;
  std::vector<int32_t> ids = prefilled.prompt.context;
  if (joint) ids.insert(ids.end(), prefilled.prompt.question.begin(), prefilled.prompt.question.end());
  const auto n = static_cast<int64_t>(ids.size());
  const auto show = [&](int64_t done) {
    Show("prefill", done, n, "tokens");
    return g_cancel ? Cancelled("interrupted") : OkStatus();
  };
  auto session = Session::Make(runtime_, BaseOptions(cells_));
  const Status status = session.ok() ? session->Prefill(ids, joint, show) : session.status();
  if (status.kind() == StatusKind::kCancelled) return status;
  if (status.ok()) {
    prefilled.session = std::move(*session);
  } else {
    prefilled.error = status.message();
  }
  return prefilled;
}

// `fields` are left as they are where it fails.
Result<Answer> RecordRunner::Ask(const EvalRecord& record, const KvOptions& options, const Prefilled& prefilled,
                                 Json& fields) {
  if (!prefilled.session) return Internal(prefilled.error);
  ARKVALE_ASSIGN_OR_RETURN(Session fork, prefilled.session->Fork(options));
  Answer answer;
  Json measured = Json::object();
  if (record.measure) {
    ARKVALE_ASSIGN_OR_RETURN(measured, record.measure(fork));
  } else if (record.feeding == Feeding::kJoint) {
    ARKVALE_ASSIGN_OR_RETURN(answer, DecodeAnswer(runtime_.tokenizer(), fork, record.max_new, g_cancel, record.end_id));
  } else {
    ARKVALE_ASSIGN_OR_RETURN(answer, AskQuestion(runtime_.tokenizer(), fork, prefilled.prompt.question, record.max_new,
                                                 g_cancel, record.end_id));
  }
  ARKVALE_ASSIGN_OR_RETURN(const KvStats held, fork.stats());
  measured.update(StatsFields(held));
  fields = std::move(measured);
  return answer;
}

void RecordRunner::Show(const std::string& what, int64_t done, int64_t total, const std::string& unit) {
  const std::string left = TimeLeft(seconds_, work_done_, work_left_);
  progress_.Show("record " + std::to_string(n_done_ + 1) + "/" + std::to_string(n_records_) + ", " + what, done, total,
                 unit + (left.empty() ? "" : ", " + left));
}

}  // namespace arkvale::tools
