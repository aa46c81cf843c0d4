#include "tools/chat/repl.h"

#include <cstdio>
#include <utility>

#include "tools/common/answer_json.h"
#include "tools/common/interrupt.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/common/text_input.h"

namespace arkvale::tools {
namespace {

// After a Ctrl-C that was heeded: the next one is caught again.
void RestartInterrupt() {
  CatchInterrupt();
  g_cancel = false;
}

}  // namespace

Status Repl::Run() {
  for (;;) {
    ARKVALE_ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadInput());
    if (!text) break;
    const Input input = ParseInput(*text);
    if (input.kind == InputKind::kQuit) break;
    ARKVALE_RETURN_IF_ERROR(Handle(input));
  }
  return OkStatus();
}

// On a terminal one Ctrl-C drops the line, for it may have been meant for an answer that just ended; two end the chat.
Result<std::optional<std::string>> Repl::ReadInput() {
  for (bool again = false;; again = true) {
    auto text = ReadMessage(reader_);
    if (text.ok() || again || !reader_.interactive() || text.status().kind() != StatusKind::kCancelled) return text;
    Say("Ctrl-C again ends the chat\n");
    RestartInterrupt();
  }
}

Status Repl::Handle(const Input& input) {
  switch (input.kind) {
    case InputKind::kEmpty:
    case InputKind::kQuit: break;
    case InputKind::kMessage: return Send(input.text);
    case InputKind::kFile: LoadFile(input.text); break;
    case InputKind::kStats: {
      const auto stats = chat_.stats();
      Say(stats.ok() ? StatsText(n_turns_, chat_.n_tokens(), *stats, last_, counts_) : stats.status().message() + "\n");
      break;
    }
    case InputKind::kReset:
      Show(chat_.Reset());
      n_turns_ = 0;
      last_ = {};
      options_.text_before.clear();
      break;
    case InputKind::kHelp: Say(CommandHelp()); break;
    case InputKind::kUnknown: Show(InvalidArgument(input.text)); break;
  }
  return OkStatus();
}

Status Repl::Send(const std::string& message) {
  Progress progress(options_.quiet);
  GenerateResult result;
  const Status status =
      chat_.Send(WithTextBefore(options_.text_before, message), options_.turn, MakeCallbacks(progress), &result)
          .status();
  progress.Clear();
  RestartInterrupt();
  if (!result.text.empty() && !options_.json) ARKVALE_RETURN_IF_ERROR(Stdout().Write("\n"));
  if (Stdout().failed()) return Stdout().status();
  const bool answered = status.ok() || (status.kind() == StatusKind::kCancelled && !result.token_ids.empty());
  if (!answered) {
    Show(status);
    if (status.kind() == StatusKind::kInvalidArgument && n_turns_ > 0) Say("/reset begins a new conversation\n");
    return OkStatus();
  }
  options_.text_before.clear();
  counts_ = CountTurn(last_.kv, result.kv);
  last_ = std::move(result);
  ++n_turns_;
  options_.kv.budget_tokens = last_.budget_tokens;  // kAutoBudget is a number now
  if (options_.json) {
    ARKVALE_RETURN_IF_ERROR(Stdout().Write(
        Dump(AnswerJson({options_.kv, engine_.kv_type(), options_.plan_path}, last_, engine_.threads()))));
  }
  if (!options_.quiet) Say(TurnLine(n_turns_, last_, counts_));
  if (const std::string warning = RecallWarning(counts_.audit, options_.kv); !warned_ && !warning.empty()) {
    Say("arkvale chat: warning: " + warning);
    warned_ = true;
  }
  if (chat_.n_tokens() >= options_.ctx_tokens) Say("the context is full: /reset begins a new conversation\n");
  return OkStatus();
}

GenerateCallbacks Repl::MakeCallbacks(Progress& progress) const {
  GenerateCallbacks callbacks;
  callbacks.cancel = &g_cancel;
  callbacks.on_progress = [&progress](Stage stage, int64_t done, int64_t total) {
    if (stage == Stage::kPrefill) progress.Show("prefill", done, total, "tokens");
  };
  if (options_.json) return callbacks;
  callbacks.on_text = [&progress](std::string_view text) {
    progress.Clear();
    if (!Stdout().Write(text).ok()) g_cancel = true;
  };
  return callbacks;
}

void Repl::LoadFile(const std::string& path) {
  if (path == "-") return Show(InvalidArgument("/file -: standard input holds the messages, give a file"));
  auto text = ReadText(path, options_.ctx_tokens);
  RestartInterrupt();
  if (!text.ok()) return Show(text.status());
  options_.text_before = WithTextBefore(options_.text_before, *text);
  if (!options_.quiet) Say(path + ": " + std::to_string(text->size()) + " bytes go in front of the next message\n");
}

// A failed request leaves the conversation as it was.
void Repl::Show(const Status& status) {
  if (status.ok()) return;
  if (status.kind() == StatusKind::kCancelled) return Say("interrupted: the message was not answered\n");
  if (first_error_.ok()) first_error_ = status;
  Say("arkvale chat: " + status.message() + "\n");
}

void Repl::Say(const std::string& text) const { std::fputs(text.c_str(), stderr); }

}  // namespace arkvale::tools
