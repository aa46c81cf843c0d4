#include "arkvale/chat.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "arkvale/engine.h"
#include "tools/chat/line_reader.h"
#include "tools/chat/repl.h"
#include "tools/common/cli.h"
#include "tools/common/commands.h"
#include "tools/common/exit_code.h"
#include "tools/common/interrupt.h"
#include "tools/common/kv_flags.h"
#include "tools/common/output.h"
#include "tools/common/sampling_flags.h"
#include "tools/common/text_input.h"

namespace arkvale::tools {
namespace {

// One step in so many also computes every true score, which is the q.k half of full attention: 3 % of it on average.
constexpr int32_t kAuditEvery = 16;

struct Flags {
  EngineFlags engine;
  KvFlags kv;
  const CLI::Option* audit_option = nullptr;
  ChatOptions chat;
  ReplOptions repl;
  SamplingFlags sampling;
  std::string file;
};

void AddFlags(Cli& cli, Flags& flags) {
  auto& app = cli.app();
  const std::string group = "Chat";
  app.add_option("--system", flags.chat.system, "system message")
      ->type_name("TEXT")
      ->default_str("the template's own")
      ->group(group);
  app.add_option("-f,--file", flags.file, "UTF-8 file whose text goes in front of the first message")
      ->type_name("FILE")
      ->group(group);
  app.add_option("-n,--max-tokens", flags.repl.turn.max_tokens, "longest answer in tokens")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app.add_flag("--json", flags.repl.json, "one JSON document per answer instead of the streamed text")->group(group);
  app.add_flag("--quiet", flags.repl.quiet, "no progress and no timing line on stderr")->group(group);
  flags.sampling.Add(cli);
  flags.engine.Add(cli);
  flags.kv.Add(cli, true);
  flags.audit_option = app.get_option("--kv-audit")->default_str(std::to_string(kAuditEvery));
  app.footer("Commands in the chat:\n" + CommandHelp());
}

Status CheckFlags(Flags& flags) {
  ARKVALE_RETURN_IF_ERROR(CheckUtf8Argument("--system", flags.chat.system));
  if (flags.file == "-") return InvalidArgument("--file -: standard input holds the messages, give a file");
  if (flags.repl.turn.max_tokens < 1) {
    return InvalidArgument("--max-tokens " + std::to_string(flags.repl.turn.max_tokens) + ": ask for at least one");
  }
  ARKVALE_ASSIGN_OR_RETURN(flags.repl.turn.sampling, flags.sampling.Get());
  ARKVALE_ASSIGN_OR_RETURN(flags.chat.kv, flags.kv.Get());
  if (!Given(flags.audit_option)) flags.chat.kv.audit_every = kAuditEvery;
  return OkStatus();
}

// `turn_error`: Repl::first_error where nobody sat there to see it.
Status Run(Flags& flags, Status& turn_error) {
  ARKVALE_RETURN_IF_ERROR(CheckFlags(flags));
  ARKVALE_ASSIGN_OR_RETURN(const EngineOptions options, flags.engine.Get());
  ARKVALE_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Open(options));
  flags.repl.ctx_tokens = options.ctx_tokens > 0 ? options.ctx_tokens : engine->model().context_tokens;
  if (!flags.file.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(flags.repl.text_before, ReadText(flags.file, flags.repl.ctx_tokens));
  }
  ARKVALE_ASSIGN_OR_RETURN(flags.chat.kv, flags.kv.Resolve(*engine, flags.chat.kv));
  flags.repl.kv = flags.chat.kv;
  flags.repl.plan_path = flags.kv.plan_path();
  ARKVALE_ASSIGN_OR_RETURN(const std::unique_ptr<Chat> chat, engine->StartChat(flags.chat));
  const auto reader = MakeLineReader(flags.repl.ctx_tokens * kMaxBytesPerToken);
  if (reader->interactive() && !flags.repl.quiet) std::fputs("/help lists the commands\n", stderr);
  Repl repl(*engine, *chat, *reader, flags.repl);
  const Status status = repl.Run();
  if (!reader->interactive()) turn_error = repl.first_error();
  return status;
}

}  // namespace

int RunChat(int argc, char** argv) {
  Cli cli("chat", "A conversation of many turns: only new text is prefilled, answers are decoded under a KV policy.");
  Flags flags;
  AddFlags(cli, flags);
  if (const auto exit_code = cli.Parse(argc, argv)) return *exit_code;
  Status turn_error;
  const Status status = Run(flags, turn_error);
  return status.ok() ? ExitCode(turn_error) : cli.Fail(status);
}

}  // namespace arkvale::tools
