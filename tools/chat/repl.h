// Repl: reads messages and commands, sends them to a chat, shows the answers. Answers go to stdout, all else to stderr.
#pragma once

#include <cstdint>
#include <string>

#include "arkvale/chat.h"
#include "arkvale/engine.h"
#include "tools/chat/input.h"
#include "tools/chat/line_reader.h"
#include "tools/chat/turn_report.h"

namespace arkvale::tools {

struct ReplOptions {
  TurnOptions turn;
  KvOptions kv;            // of the chat
  std::string plan_path;   // --kv-plan; empty: none
  int64_t ctx_tokens = 0;  // longest conversation
  bool json = false;
  bool quiet = false;
  std::string text_before;  // in front of the first message
};

class Repl {
 public:
  // All references must outlive it.
  Repl(const Engine& engine, Chat& chat, LineReader& reader, ReplOptions options)
      : engine_(engine), chat_(chat), reader_(reader), options_(std::move(options)) {}

  // Until the end of the input or /quit. Cancelled after Ctrl-C at the prompt, unwritable output as Output says.
  Status Run();
  // The first message or command that failed; it has been shown, and the chat went on.
  const Status& first_error() const { return first_error_; }

 private:
  Result<std::optional<std::string>> ReadInput();
  Status Handle(const Input& input);
  Status Send(const std::string& message);
  void Show(const Status& status);
  void LoadFile(const std::string& path);
  void Say(const std::string& text) const;
  GenerateCallbacks MakeCallbacks(class Progress& progress) const;

  const Engine& engine_;
  Chat& chat_;
  LineReader& reader_;
  ReplOptions options_;
  Status first_error_;
  bool warned_ = false;

  int64_t n_turns_ = 0;
  GenerateResult last_;
  TurnCounts counts_;
};

}  // namespace arkvale::tools
