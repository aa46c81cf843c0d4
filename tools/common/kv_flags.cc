#include "tools/common/kv_flags.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

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

Result<int64_t> ParseBudget(const std::string& text) {
  if (text == "auto") return kAutoBudget;
  int64_t tokens = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), tokens);
  if (error != std::errc() || end != text.data() + text.size() || tokens < 0) {
    return InvalidArgument("--kv-budget '" + text +
                           "' is no number of tokens: use a number (0 = unlimited), or auto with --kv-hot-mem");
  }
  return tokens;
}

// An empty text is 0: the flag was not given.
Result<int64_t> ParseLimit(const std::string& flag, const std::string& text) {
  if (text.empty()) return 0;
  ARKVALE_ASSIGN_OR_RETURN(const int64_t bytes, ParseSize(text));
  if (bytes == 0) return InvalidArgument(flag + " " + text + ": give more than 0 bytes");
  return bytes;
}

Result<RopeScaling> ParseRopeScaling(const std::string& name) {
  if (name.empty()) return RopeScaling::kModel;
  if (name == "none") return RopeScaling::kNone;
  if (name == "linear") return RopeScaling::kLinear;
  if (name == "yarn") return RopeScaling::kYarn;
  return InvalidArgument("--rope-scaling '" + name + "' is unknown: use none, linear or yarn");
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
  if (!BudgetsPages(options.policy) || options.budget_tokens == kAutoBudget) return options;
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

Result<KvOptions> CheckBudget(KvOptions options, const ModelInfo& model) {
  if (options.budget_tokens == kAutoBudget) return options;
  ARKVALE_RETURN_IF_ERROR(options.Validate(model.n_layers, model.n_kv_heads));
  return RoundBudget(std::move(options));
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
  app.add_option("--kv-type", kv_type_,
                 "element type of K and V: f16, or q8_0 or q4_0 = 8 or 4 bits with a scale per 32 elements")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  app.add_option("--kv-host-mem", host_mem_, "hard limit of the KV cache in RAM")
      ->type_name("SIZE")
      ->default_str("half of RAM")
      ->group(group);
  app.add_option("--kv-hot-mem", hot_mem_, "hard limit of K, V and digests that steps read, over all sequences")
      ->type_name("SIZE")
      ->default_str("none")
      ->group(group);
  app.add_option("--rope-scaling", rope_scaling_, "longer contexts than trained for: none, linear or yarn")
      ->type_name("NAME")
      ->default_str("the file's")
      ->group(group);
  rope_scale_option_ = app.add_option("--rope-scale", rope_scale_, "factor of the rope scaling; > 1 stretches")
                           ->type_name("F")
                           ->default_str("the file's")
                           ->group(group);
}

Result<EngineOptions> EngineFlags::Get() const {
  if (device_ != "cpu") return InvalidArgument("--device '" + device_ + "' is unknown: use cpu");
  EngineOptions options{.model_path = model_, .threads = threads_, .ctx_tokens = ctx_tokens_};
  ARKVALE_ASSIGN_OR_RETURN(options.kv_type, ParseKvType(kv_type_));
  ARKVALE_ASSIGN_OR_RETURN(options.host_limit_bytes, ParseLimit("--kv-host-mem", host_mem_));
  ARKVALE_ASSIGN_OR_RETURN(options.hot_limit_bytes, ParseLimit("--kv-hot-mem", hot_mem_));
  ARKVALE_ASSIGN_OR_RETURN(options.rope_scaling, ParseRopeScaling(rope_scaling_));
  if (Given(rope_scale_option_) && !(rope_scale_ > 0 && std::isfinite(rope_scale_))) {
    return InvalidArgument("--rope-scale " + GivenText(rope_scale_option_) + ": use a number > 0, as 4");
  }
  options.rope_scale = rope_scale_;
  return options;
}

void KvFlags::Add(Cli& cli, bool with_policy_and_budget) {
  auto& app = cli.app();
  const std::string group = "KV cache";
  policy_ = KvPolicyName(defaults_.policy);
  digest_ = DigestName(defaults_.digest);
  topk_ = "auto";
  budget_ = std::to_string(defaults_.budget_tokens);
  page_tokens_ = defaults_.page_tokens;
  sinks_ = defaults_.sink_pages;
  window_ = defaults_.window_pages;
  dense_layers_ = defaults_.dense_layers;
  group_ = defaults_.group_heads;
  audit_every_ = defaults_.audit_every;
  const auto add = [&](const char* name, auto& value, const char* type, const std::string& text) {
    return app.add_option(name, value, text)->type_name(type)->capture_default_str()->group(group);
  };
  if (with_policy_and_budget) {
    policy_option_ = add(
        "--kv-policy", policy_, "NAME",
        "full (attend to everything), arkvale (evict and recall pages), quest (keep all, read the best pages), or drop "
        "tokens for good: streaming, h2o, tova, snapkv, pyramidkv, xkv");
    budget_option_ = add(
        "--kv-budget", budget_, "N|auto",
        "hot tokens per layer, sinks and window included, arkvale and quest in whole pages; 0 = unlimited; auto = what "
        "--kv-hot-mem has room for");
    AddPlan(cli, "per-layer budgets made by `arkvale plan`; replaces --kv-budget, and --kv-topk unless given");
  }
  page_option_ = add("--kv-page", page_tokens_, "N", "tokens per page: 8, 16, 32 or 64");
  add("--kv-digest", digest_, "NAME",
      "page summary: centroid, sphere-max, sphere-center, sphere-mean, cuboid-max, cuboid-center, cuboid-mean, code1 "
      "or code2");
  topk_option_ = add(
      "--kv-topk", topk_, "N",
      "pages chosen anew each step: a number, paper = min(1280, budget / 2) / page, auto = all that the budget holds");
  add("--kv-sinks", sinks_, "N", "pages always kept at the start");
  add("--kv-window", window_, "N", "pages always kept at the end");
  dense_option_ = add("--kv-dense-layers", dense_layers_, "N", "first layers that keep everything");
  add("--kv-group", group_, "N", "kv heads that share one page selection");
  add("--kv-audit", audit_every_, "N",
      "every N-th step also ranks the pages by their true scores and reports the recall; 0 = never");
  app.add_option(
         "--kv-opt", opts_,
         "more options: combine=auto|mean|max|softmax-mean|softmax-pinned, attend=resident|selected|all, "
         "window-exit=rank|drop, digest-type=f16|f32|q8, rank-every=1..64 (the first of each is the "
         "default), zone=0|N|all (tokens that are not read but estimated from 2-bit codes), zone-v=2|4 (bits of "
         "their V); streaming-sinks=4, h2o-heavy=0.5, h2o-init=full|last-row, snap-window=8, snap-kernel=7, "
         "snap-pooling=average|max, pyramid-beta=20")
      ->type_name("NAME=VALUE,...")
      ->group(group);
}

void KvFlags::AddPlan(Cli& cli, const std::string& text) {
  cli.app().add_option("--kv-plan", plan_, text)->type_name("FILE")->group("KV cache");
}

Result<KvOptions> KvFlags::Get() const {
  KvOptions options;
  ARKVALE_ASSIGN_OR_RETURN(options.policy, ParseKvPolicy(policy_));
  ARKVALE_ASSIGN_OR_RETURN(options.digest, ParseDigest(digest_));
  ARKVALE_ASSIGN_OR_RETURN(options.topk, ParseTopk(topk_));
  ARKVALE_ASSIGN_OR_RETURN(options.budget_tokens, ParseBudget(budget_));
  options.page_tokens = page_tokens_;
  options.sink_pages = sinks_;
  options.window_pages = window_;
  options.dense_layers = dense_layers_;
  options.group_heads = group_;
  options.audit_every = audit_every_;
  ARKVALE_RETURN_IF_ERROR(SetNamedOptions(opts_, options));
  return options;
}

}  // namespace arkvale::tools
