#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "arkvale/engine.h"
#include "tools/common/answer_json.h"
#include "tools/common/cli.h"
#include "tools/common/commands.h"
#include "tools/common/exit_code.h"
#include "tools/common/format.h"
#include "tools/common/interrupt.h"
#include "tools/common/kv_flags.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/common/sampling_flags.h"
#include "tools/common/text_input.h"

namespace arkvale::tools {
namespace {

struct Flags {
  EngineFlags engine;
  KvFlags kv;
  SamplingFlags sampling;
  std::string prompt, file;
  CLI::Option* prompt_option = nullptr;
  bool json = false, quiet = false;
  GenerateRequest request;
};

void AddFlags(Cli& cli, Flags& flags) {
  auto& app = cli.app();
  GenerateRequest& r = flags.request;
  const std::string group = "Request";
  flags.prompt_option =
      app.add_option("-p,--prompt", flags.prompt, "the context as text")->type_name("TEXT")->group(group);
  app.add_option("-f,--file", flags.file, "the context from a UTF-8 file; - = standard input")
      ->type_name("FILE")
      ->group(group);
  app.add_option("-q,--question", r.question, "fed token by token under the policy after the context was prefilled")
      ->type_name("TEXT")
      ->group(group);
  app.add_option("-n,--max-tokens", r.max_tokens, "longest answer in tokens")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app.add_flag("--chat", r.chat, "wrap context and question as one user turn of the model's chat template")
      ->group(group);
  app.add_option("--stop", r.stop, "end the answer before this text; may be given more than once")
      ->type_name("TEXT")
      ->expected(1)
      ->take_all()
      ->group(group);
  app.add_flag("--json", flags.json, "one JSON document instead of the streamed text")->group(group);
  app.add_flag("--quiet", flags.quiet, "no progress and no summary on stderr")->group(group);

  flags.sampling.Add(cli);
  flags.engine.Add(cli);
  flags.kv.Add(cli, true);
}

Status CheckFlags(Flags& flags) {
  if (Given(flags.prompt_option) == !flags.file.empty()) {
    return InvalidArgument("give the context once: -p TEXT or -f FILE");
  }
  ARKVALE_RETURN_IF_ERROR(CheckUtf8Argument("--prompt", flags.prompt));
  ARKVALE_RETURN_IF_ERROR(CheckUtf8Argument("--question", flags.request.question));
  for (const std::string& stop : flags.request.stop) ARKVALE_RETURN_IF_ERROR(CheckUtf8Argument("--stop", stop));
  ARKVALE_ASSIGN_OR_RETURN(flags.request.kv, flags.kv.Get());
  ARKVALE_ASSIGN_OR_RETURN(flags.request.sampling, flags.sampling.Get());
  return OkStatus();
}

void PrintSummary(const GenerateRequest& request, const GenerateResult& r) {
  const KvStats& kv = r.kv;
  std::fprintf(stderr,
               "%lld prompt + %lld question tokens, prefill %.1f tokens/s, first token after %.0f ms; %zu tokens "
               "generated (%s), %.2f ms each = %.1f tokens/s. ",
               static_cast<long long>(r.prompt_tokens), static_cast<long long>(r.question_tokens),
               PerSecond(static_cast<double>(r.prompt_tokens - r.reused_tokens), r.prefill_ms), r.ttft_ms,
               r.token_ids.size(), r.stop_reason.c_str(), r.decode_ms_median, PerSecond(1, r.decode_ms_median));
  std::fprintf(stderr,
               "KV cache (%s): %.1f MiB hot + %.1f MiB digests of %.1f MiB dense, %.1f MiB in all; %lld pages evicted, "
               "%lld recalled.\n",
               std::string(KvPolicyName(request.kv.policy)).c_str(), MiB(kv.hot_bytes), MiB(kv.digest_bytes),
               MiB(kv.full_bytes), MiB(kv.total_bytes), static_cast<long long>(kv.counters.evicted),
               static_cast<long long>(kv.counters.recalled));
}

GenerateCallbacks MakeCallbacks(const Flags& flags, Progress& progress) {
  GenerateCallbacks callbacks;
  callbacks.cancel = &g_cancel;
  callbacks.on_progress = [&progress](Stage stage, int64_t done, int64_t total) {
    if (stage == Stage::kPrefill) progress.Show("prefill", done, total, "tokens");
    if (stage == Stage::kQuestion) progress.Show("question", done, total, "tokens");
  };
  if (flags.json) return callbacks;
  callbacks.on_text = [&progress](std::string_view text) {
    progress.Clear();
    if (!Stdout().Write(text).ok()) g_cancel = true;
  };
  return callbacks;
}

// Cancelled with what was produced in `result`, or another error, or ok.
Status Run(Flags& flags, GenerateResult& result, KvType& kv_type, int32_t& threads) {
  ARKVALE_RETURN_IF_ERROR(CheckFlags(flags));
  ARKVALE_ASSIGN_OR_RETURN(const EngineOptions options, flags.engine.Get());
  ARKVALE_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Open(options));
  threads = engine->threads();
  kv_type = engine->kv_type();
  flags.request.context = std::move(flags.prompt);
  if (!flags.file.empty()) {
    const int64_t ctx_tokens = options.ctx_tokens > 0 ? options.ctx_tokens : engine->model().context_tokens;
    ARKVALE_ASSIGN_OR_RETURN(flags.request.context, ReadText(flags.file, ctx_tokens));
  }
  ARKVALE_ASSIGN_OR_RETURN(flags.request.kv, flags.kv.Resolve(*engine, flags.request.kv));
  Progress progress(flags.quiet);
  const auto answer = engine->Generate(flags.request, MakeCallbacks(flags, progress), &result);
  return answer.status();
}

}  // namespace

int RunGenerate(int argc, char** argv) {
  Cli cli("generate", "Answers one prompt: context prefilled, then the question and the answer under a KV policy.");
  Flags flags;
  AddFlags(cli, flags);
  if (const auto exit_code = cli.Parse(argc, argv)) return *exit_code;

  GenerateResult result;
  int32_t threads = 0;
  KvType kv_type{};
  const Status status = Run(flags, result, kv_type, threads);
  if (Stdout().failed()) return cli.Fail(Stdout().status());
  if (!status.ok() && result.stop_reason.empty()) return cli.Fail(status);
  const Status written = Stdout().Write(
      flags.json ? Dump(AnswerJson({flags.request.kv, kv_type, flags.kv.plan_path()}, result, threads)) : "\n");
  if (!written.ok()) return cli.Fail(written);
  if (!flags.quiet) PrintSummary(flags.request, result);
  return ExitCode(status);
}

}  // namespace arkvale::tools
