#include "tools/common/kv_flags.h"

#include <charconv>
#include <cstdio>

namespace arkvale::tools {
namespace {

Result<TopkRule> ParseTopk(const std::string& text) {
  if (text == "auto") return TopkRule{.kind = TopkRule::Kind::kAuto};
  if (text == "paper") return TopkRule{.kind = TopkRule::Kind::kPaper};
  int32_t pages = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pages);
  if (error != std::errc() || end != text.data() + text.size()) {
    return InvalidArgument("--kv-topk '" + text + "' is no number of pages: use a number, auto or paper");
  }
  return TopkRule{.kind = TopkRule::Kind::kPages, .pages = pages};
}

Status SetNamedOptions(const std::string& text, KvOptions& options) {
  if (text.empty()) return OkStatus();
  for (const std::string& part : SplitCommas(text)) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos) {
      return InvalidArgument("--kv-opt '" + part + "' has no value: write it as name=value");
    }
    ARKVALE_RETURN_IF_ERROR(SetKvOption(options, part.substr(0, equals), part.substr(equals + 1)));
  }
  return OkStatus();
}

}  // namespace

KvOptions RoundBudget(KvOptions options) {
  if (options.policy == KvPolicyKind::kFull) return options;
  const int64_t page = options.page_tokens;
  const int64_t rounded = options.budget_tokens / page * page;
  if (rounded != options.budget_tokens) {
    std::fprintf(stderr, "budget %lld tokens rounded down to %lld, whole pages of %lld\n",
                 static_cast<long long>(options.budget_tokens), static_cast<long long>(rounded),
                 static_cast<long long>(page));
  }
  options.budget_tokens = rounded;
  return options;
}

void EngineFlags::Add(Cli& cli) {
  auto& app = cli.app();
  const std::string group = "Model and machine";
  cli.Require(app.add_option("-m,--model", model_, "model to run, a GGUF file")->type_name("FILE")->group(group));
  app.add_option("--device", device_, "where it runs: cpu")->type_name("NAME")->capture_default_str()->group(group);
  app.add_option("--threads", threads_, "compute threads")->type_name("N")->default_str("physical cores")->group(group);
  app.add_option("--ctx", ctx_tokens_, "longest context in tokens")
      ->type_name("N")
      ->default_str("the model's")
      ->group(group);
  app.add_option("--kv-host-mem", host_mem_, "hard limit of the KV cache in RAM")
      ->type_name("SIZE")
      ->default_str("half of RAM")
      ->group(group);
}

Result<EngineOptions> EngineFlags::Get() const {
  if (device_ != "cpu") return InvalidArgument("--device '" + device_ + "' is unknown: use cpu");
  EngineOptions options{.model_path = model_, .threads = threads_, .ctx_tokens = ctx_tokens_};
  if (!host_mem_.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(options.host_limit_bytes, ParseSize(host_mem_));
    if (options.host_limit_bytes == 0) return InvalidArgument("--kv-host-mem 0: give more than 0 bytes");
  }
  return options;
}

void KvFlags::Add(Cli& cli, bool with_policy_and_budget) {
  auto& app = cli.app();
  const std::string group = "KV cache";
  policy_ = KvPolicyName(defaults_.policy);
  digest_ = DigestName(defaults_.digest);
  topk_ = "auto";
  budget_tokens_ = defaults_.budget_tokens;
  page_tokens_ = defaults_.page_tokens;
  sinks_ = defaults_.sink_pages;
  window_ = defaults_.window_pages;
  dense_layers_ = defaults_.dense_layers;
  group_ = defaults_.group_heads;
  const auto add = [&](const char* name, auto& value, const char* type, const std::string& text) {
    app.add_option(name, value, text)->type_name(type)->capture_default_str()->group(group);
  };
  if (with_policy_and_budget) {
    add("--kv-policy", policy_, "NAME", "full (attend to everything) or arkvale (evict and recall pages)");
    add("--kv-budget", budget_tokens_, "N",
        "hot tokens per layer, sinks and window included, rounded down to whole pages; 0 = unlimited");
  }
  add("--kv-page", page_tokens_, "N", "tokens per page: 8, 16, 32 or 64");
  add("--kv-digest", digest_, "NAME",
      "page summary: centroid, sphere-max, sphere-center, sphere-mean, cuboid-max, cuboid-center or cuboid-mean");
  add("--kv-topk", topk_, "N",
      "pages chosen anew each step: a number, paper = min(1280, budget / 2) / page, auto = all that the budget holds");
  add("--kv-sinks", sinks_, "N", "pages always kept at the start");
  add("--kv-window", window_, "N", "pages always kept at the end");
  add("--kv-dense-layers", dense_layers_, "N", "first layers that keep everything");
  add("--kv-group", group_, "N", "kv heads that share one page selection");
  app.add_option("--kv-opt", opts_,
                 "more options: combine=mean|max|softmax-mean, attend=resident|selected|all, window-exit=rank|drop, "
                 "digest-type=f16|f32 (the first of each is the default)")
      ->type_name("NAME=VALUE,...")
      ->group(group);
}

Result<KvOptions> KvFlags::Get() const {
  KvOptions options;
  ARKVALE_ASSIGN_OR_RETURN(options.policy, ParseKvPolicy(policy_));
  ARKVALE_ASSIGN_OR_RETURN(options.digest, ParseDigest(digest_));
  ARKVALE_ASSIGN_OR_RETURN(options.topk, ParseTopk(topk_));
  options.budget_tokens = budget_tokens_;
  options.page_tokens = page_tokens_;
  options.sink_pages = sinks_;
  options.window_pages = window_;
  options.dense_layers = dense_layers_;
  options.group_heads = group_;
  ARKVALE_RETURN_IF_ERROR(SetNamedOptions(opts_, options));
  return options;
}

}  // namespace arkvale::tools
