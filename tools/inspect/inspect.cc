#include "model/inspect.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <string>

#include "plan/plan_file.h"
#include "tools/common/cli.h"
#include "tools/common/commands.h"
#include "tools/common/exit_code.h"
#include "tools/common/json.h"
#include "tools/common/output.h"
#include "tools/common/plan_input.h"
#include "tools/inspect/line.h"
#include "tools/inspect/plan_text.h"

namespace arkvale::tools {
namespace {

Json ToJson(const ModelSummary& s) {
  Json types = Json::array();
  for (const auto& t : s.types) types.push_back({{"type", t.type}, {"n_tensors", t.n_tensors}, {"bytes", t.n_bytes}});
  Json json = {{"kind", "model"},
               {"path", s.path},
               {"architecture", s.architecture},
               {"name", s.name},
               {"fingerprint", s.fingerprint},
               {"file_type", s.file_type},
               {"file_bytes", s.file_bytes},
               {"n_files", s.n_files},
               {"n_tensors", s.n_tensors},
               {"weight_bytes", s.weight_bytes},
               {"types", types},
               {"tokenizer", s.tokenizer},
               {"n_tokens", s.n_tokens},
               {"has_chat_template", s.has_chat_template},
               {"unsupported", s.unsupported.empty() ? Json(nullptr) : Json(s.unsupported)}};
  if (!s.unsupported.empty()) return json;
  json.update({{"n_layers", s.n_layers},
               {"n_sliding_layers", s.n_sliding_layers},
               {"window_tokens", s.window_tokens},
               {"d_model", s.d_model},
               {"d_ff", s.d_ff},
               {"n_experts", s.n_experts},
               {"n_experts_used", s.n_experts_used},
               {"d_ff_expert", s.d_ff_expert},
               {"attention_softcap", s.attention_softcap},
               {"final_softcap", s.final_softcap},
               {"n_q_heads", s.n_q_heads},
               {"n_kv_heads", s.n_kv_heads},
               {"head_dim_k", s.head_dim_k},
               {"head_dim_v", s.head_dim_v},
               {"n_vocab", s.n_vocab},
               {"context_tokens", s.context_tokens},
               {"kv_bytes_per_token", s.kv_bytes_per_token},
               {"kv_window_bytes", s.kv_window_bytes}});
  return json;
}

std::string ToText(const ModelSummary& s) {
  const auto n = [](int64_t value) { return std::to_string(value); };
  std::string text = Line("model", s.path);
  text += Line("architecture", s.architecture + (s.name.empty() ? "" : " (" + s.name + ")"));
  text += Line("fingerprint", s.fingerprint);
  text += Line("file", n(s.file_bytes) + " bytes" + (s.n_files > 1 ? " in " + n(s.n_files) + " files, " : ", ") +
                           n(s.n_tensors) + " tensors of " + n(s.weight_bytes) + " bytes");
  for (const auto& t : s.types) {
    text += Line("", t.type + ": " + n(t.n_tensors) + " tensors, " + n(t.n_bytes) + " bytes");
  }
  text += Line("tokenizer", s.tokenizer + ", " + n(s.n_tokens) + " tokens");
  text += Line("chat template", s.has_chat_template ? "yes" : "no");
  if (!s.unsupported.empty()) return text + Line("cannot run", s.unsupported);
  text += Line("layers",
               n(s.n_layers) + (s.n_sliding_layers == 0 ? ", all with full attention"
                                                        : ", " + n(s.n_sliding_layers) + " of them with a window of " +
                                                              n(s.window_tokens) + " tokens"));
  const std::string ffn =
      s.n_experts == 0 ? n(s.d_ff)
                       : n(s.d_ff_expert) + " in each of " + n(s.n_experts_used) + " of " + n(s.n_experts) + " experts";
  text += Line("widths", "model " + n(s.d_model) + ", feed-forward " + ffn + ", vocabulary " + n(s.n_vocab));
  text += Line("heads", n(s.n_q_heads) + " query, " + n(s.n_kv_heads) + " kv, dimension " + n(s.head_dim_k) +
                            (s.head_dim_k == s.head_dim_v ? "" : " (values " + n(s.head_dim_v) + ")"));
  text += Line("context", n(s.context_tokens) + " tokens");
  text += Line("KV cache", n(s.kv_bytes_per_token) + " bytes per token in f16" +
                               (s.kv_window_bytes == 0 ? "" : ", and " + n(s.kv_window_bytes) + " for the windows"));
  text += Line("", n(s.kv_bytes_per_token * s.context_tokens + s.kv_window_bytes) + " bytes at the full context");
  return text;
}

enum class FileKind : uint8_t { kModel, kPlan, kOther };

// By content. A file that cannot be read counts as a model, whose reader says why.
FileKind KindOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  if (!file.read(magic, 1)) return FileKind::kModel;
  if (std::string_view(" \t\r\n{").find(magic[0]) != std::string_view::npos) return FileKind::kPlan;
  file.read(magic + 1, 3);
  return std::string_view(magic, 4) == "GGUF" ? FileKind::kModel : FileKind::kOther;
}

Result<std::string> InspectPlan(const std::string& path, bool json) {
  ARKVALE_ASSIGN_OR_RETURN(const PlanInput input, ReadPlan(path));
  const auto plan = ParsePlan(input.text);
  if (!plan.ok()) return Corrupt(path + ": " + plan.status().message());
  return json ? Dump(PlanJson(path, *plan)) : PlanText(path, *plan);
}

Result<std::string> Inspect(const std::string& path, bool json) {
  switch (KindOf(path)) {
    case FileKind::kPlan: return InspectPlan(path, json);
    case FileKind::kOther: return Corrupt(path + ": neither a model (GGUF) nor a plan (JSON object)");
    case FileKind::kModel: break;
  }
  ARKVALE_ASSIGN_OR_RETURN(const ModelSummary summary, InspectModel(path));
  return json ? Dump(ToJson(summary)) : ToText(summary);
}

}  // namespace

int RunInspect(int argc, char** argv) {
  Cli cli("inspect", "Says what a model file (GGUF) or a plan (JSON) holds.");
  std::string path;
  bool json = false;
  cli.Require(cli.app().add_option("FILE", path, "the file")->type_name("FILE"));
  cli.app().add_flag("--json", json, "one JSON document");
  if (const auto exit_code = cli.Parse(argc, argv)) return *exit_code;
  const auto text = Inspect(path, json);
  if (!text.ok()) return cli.Fail(text.status());
  const Status written = Stdout().Write(*text);
  return written.ok() ? kExitDone : cli.Fail(written);
}

}  // namespace arkvale::tools
