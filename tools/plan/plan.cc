// arkvale plan: per-layer budgets from samples of the user's own texts (XKV, arXiv 2412.05896; algorithms 7).
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/machine.h"
#include "engine/profile.h"
#include "engine/runtime.h"
#include "plan/average.h"
#include "plan/plan_file.h"
#include "tools/common/cli.h"
#include "tools/common/commands.h"
#include "tools/common/interrupt.h"
#include "tools/common/kv_flags.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/common/replace_file.h"
#include "tools/plan/make_plan.h"
#include "tools/plan/measure.h"
#include "tools/plan/report.h"
#include "tools/plan/samples.h"
#include "tools/plan/validate.h"

namespace arkvale::tools {
namespace {

struct Flags {
  EngineFlags engine;
  KvFlags kv;
  SampleFlags samples;
  std::string kind = "xkv", measure = "auto", budgets, totals, retentions, path;
  double fraction = 0.1;
  int64_t n_validated = 2;
  bool json = false, quiet = false;
};

void AddFlags(Cli& cli, Flags& flags) {
  const FlagGroup group(cli, "Plan");
  group.Add("--for", flags.kind, "NAME", "xkv (tokens dropped for good) or arkvale (pages, recalled)", "xkv");
  group.Add("--budget", flags.budgets, "N,...", "mean tokens per planned layer, sinks and windows included", "");
  group.Add("--total-tokens", flags.totals, "N,...", "tokens of all planned layers together, in place of --budget", "");
  group.Add("--retention", flags.retentions, "R,...",
            "share of each sample's attention to keep, mean over the layers, 0 to 1, in place of --budget", "");
  group.Add("--measure", flags.measure, "NAME",
            "what a layer deserves more for: mass (attention of the last tokens) or kl (divergence where it alone is "
            "under a budget; minutes per sample)",
            "kl; mass for --retention");
  group.Add("--sample-fraction", flags.fraction, "F", "share of the samples that is measured, the first ones", "0.1");
  group.Add("--validate", flags.n_validated, "N",
            "other samples on which plan and equal budgets are compared; the better one is written. 0 = none", "2");
  cli.Require(group.Add("-o,--out", flags.path, "FILE",
                        "the plan, JSON; of several ones FILE-VALUE.json, as plan-1024.json", ""));
  group.AddSwitch("--json", flags.json, "one JSON document per plan");
  group.AddSwitch("--quiet", flags.quiet, "no progress");
  flags.samples.Add(cli);
  flags.engine.Add(cli);
  flags.kv.Add(cli, /*with_policy_and_budget=*/false);
}

Result<std::vector<double>> ParseRetentions(const std::string& text) {
  std::vector<double> values;
  for (const std::string& part : SplitCommas(text)) {
    double value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || !(value > 0 && value <= 1)) {
      return InvalidArgument("--retention '" + part + "': use a share above 0 and up to 1, as 0.7");
    }
    values.push_back(value);
  }
  return values;
}

// As they were given; `names` are what tells their files apart.
struct Requests {
  std::vector<PlanRequest> list;
  std::vector<std::string> names;
};

Result<Requests> ParseRequests(const Flags& flags, int64_t n_layers) {
  const int given =
      (flags.budgets.empty() ? 0 : 1) + (flags.totals.empty() ? 0 : 1) + (flags.retentions.empty() ? 0 : 1);
  if (given != 1) return InvalidArgument("give one of --budget, --total-tokens and --retention");
  Requests requests;
  if (!flags.retentions.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(const auto values, ParseRetentions(flags.retentions));
    for (const double value : values) requests.list.push_back({.retention = value});
    requests.names = SplitCommas(flags.retentions);
    return requests;
  }
  const bool mean = !flags.budgets.empty();
  const std::string& text = mean ? flags.budgets : flags.totals;
  constexpr int64_t kMost = int64_t{1} << 40;
  ARKVALE_ASSIGN_OR_RETURN(const auto values, ParseNumbers(mean ? "--budget" : "--total-tokens", text, 1));
  for (const int64_t value : values) {
    if (value > kMost) return InvalidArgument("a budget of " + std::to_string(value) + " tokens: use a smaller one");
    requests.list.push_back({.total_tokens = mean ? value * n_layers : value});
    requests.names.push_back(std::to_string(value));
  }
  return requests;
}

Result<PlanTarget> MakeTarget(const Flags& flags, const Runtime& runtime) {
  PlanTarget target;
  if (flags.kind != "xkv" && flags.kind != "arkvale") {
    return InvalidArgument("--for '" + flags.kind + "' is unknown: use xkv or arkvale");
  }
  target.kind = flags.kind == "xkv" ? PlanKind::kXkv : PlanKind::kArkvale;
  ARKVALE_ASSIGN_OR_RETURN(target.kv, flags.kv.Get());
  target.kv.policy = target.kind == PlanKind::kXkv ? KvPolicyKind::kXkv : KvPolicyKind::kArkvale;
  target.kv.budget_tokens = 0;
  ARKVALE_RETURN_IF_ERROR(target.kv.Validate(runtime.info().n_layers, runtime.info().n_kv_heads));
  const bool is_auto = flags.measure == "auto";
  if (!is_auto && flags.measure != "mass" && flags.measure != "kl") {
    return InvalidArgument("--measure '" + flags.measure + "' is unknown: use mass or kl");
  }
  const bool kl = flags.measure == "kl" || (is_auto && flags.retentions.empty());
  if (kl && !flags.retentions.empty()) {
    return InvalidArgument("--retention is a share of the attention: give --measure mass, or a --budget");
  }
  target.measure = kl ? Measure::kKl : Measure::kMass;
  ARKVALE_ASSIGN_OR_RETURN(target.layers, PlanTarget::ManagedLayers(runtime.cache().shape(), target.kv));
  return target;
}

class Planner {
 public:
  Planner(const Flags& flags, Runtime& runtime, PlanTarget target, Requests requests)
      : runtime_(runtime),
        target_(std::move(target)),
        requests_(std::move(requests)),
        progress_(flags.quiet),
        n_validated_(flags.n_validated) {
    run_.model = runtime.info().path;
    run_.model_fingerprint = runtime.fingerprint();
    run_.sample_fraction = flags.fraction;
  }

  Result<std::vector<WrittenPlan>> Make(const std::vector<PlanSample>& samples) {
    const int64_t start = NowNs();
    ARKVALE_ASSIGN_OR_RETURN(const int64_t n, SampleCount(run_.sample_fraction, static_cast<int64_t>(samples.size())));
    const std::span measured = std::span(samples).first(n);
    ARKVALE_ASSIGN_OR_RETURN(const auto gains, target_.measure == Measure::kMass ? MassOf(measured) : KlOf(measured));
    ARKVALE_ASSIGN_OR_RETURN(auto plans, MakePlans(target_, gains, requests_.list));
    run_.planning_ms = MsSince(start);
    run_.rss_peak_bytes = PeakRssBytes();
    return Choose(std::move(plans), std::span(samples).subspan(n));
  }

  Result<std::string> FileText(const WrittenPlan& written) const {
    KvPlan plan = PlanOfLayers(target_, written.layers, runtime_.info().n_layers);
    plan.model_fingerprint = run_.model_fingerprint;
    plan.model_name = runtime_.model_name();
    plan.made_by = MadeByJson(target_, run_, written).dump();
    return FormatPlan(plan);
  }

  const PlanTarget& target() const { return target_; }
  const PlanRun& run() const { return run_; }

 private:
  // Cancelled after Ctrl-C.
  Status Tell(const char* what, int64_t done, int64_t total, const char* unit) {
    if (g_cancel) return Cancelled("interrupted");
    progress_.Show(what, done, total, unit);
    return OkStatus();
  }

  // Where nothing of a sample has to go nothing tells layers apart.
  Status CheckLength(int64_t n_tokens) const {
    int64_t most = 0;
    for (const PlanRequest& request : requests_.list) most = std::max(most, request.total_tokens);
    most /= static_cast<int64_t>(target_.layers.size());
    if (n_tokens > most) return OkStatus();
    return InvalidArgument("its " + std::to_string(n_tokens) + " tokens fit in a budget of " + std::to_string(most) +
                           ": give longer ones, or a smaller budget");
  }

  // Calls `measure` for each sample. Those that are too short are left out; of many the first are named. Corrupt where
  // none is left.
  Status MeasureEach(std::span<const PlanSample> samples, const std::function<Status(size_t i)>& measure) {
    std::vector<std::string> left_out;
    for (size_t i = 0; i < samples.size(); ++i) {
      Status status = CheckLength(static_cast<int64_t>(samples[i].ids.size()));
      if (status.ok()) status = measure(i);
      if (status.ok()) {
        run_.samples.push_back(samples[i].name);
        run_.sample_tokens.push_back(static_cast<int64_t>(samples[i].ids.size()));
        run_.profile_bytes = std::max(run_.profile_bytes, ProfileBytes(runtime_, run_.sample_tokens.back()));
      } else if (status.kind() == StatusKind::kInvalidArgument) {
        left_out.push_back(samples[i].name + ": " + status.message());
      } else {
        return status;
      }
    }
    progress_.Clear();
    const std::string count = std::to_string(left_out.size()) + " of " + std::to_string(samples.size()) + " samples";
    if (run_.samples.empty()) return Corrupt("nothing to plan from, " + count + " left out: " + left_out[0]);
    constexpr size_t kNamed = 3;
    for (size_t i = 0; i < std::min(kNamed, left_out.size()); ++i) {
      std::fprintf(stderr, "left out: %s\n", left_out[i].c_str());
    }
    if (left_out.size() > kNamed) std::fprintf(stderr, "%s left out\n", count.c_str());
    return OkStatus();
  }

  Result<std::vector<MeasuredGains>> MassOf(std::span<const PlanSample> samples) {
    std::vector<MeasuredGains> gains;
    ARKVALE_RETURN_IF_ERROR(MeasureEach(samples, [&](size_t i) {
      ARKVALE_ASSIGN_OR_RETURN(auto sample, MeasureMass(runtime_, target_, samples[i].ids, [&] {
                                 return Tell("measuring", static_cast<int64_t>(i), static_cast<int64_t>(samples.size()),
                                             "samples");
                               }));
      gains.push_back(std::move(sample));
      return OkStatus();
    }));
    return gains;
  }

  // One entry: losses of the samples are averaged before they are planned from.
  Result<std::vector<MeasuredGains>> KlOf(std::span<const PlanSample> samples) {
    const auto by_total = [](const PlanRequest& a, const PlanRequest& b) { return a.total_tokens < b.total_tokens; };
    const auto [least, most] = std::minmax_element(requests_.list.begin(), requests_.list.end(), by_total);
    const auto n_layers = static_cast<int64_t>(target_.layers.size());
    std::vector<LayerLosses> losses;
    int64_t most_units = 0;
    ARKVALE_RETURN_IF_ERROR(MeasureEach(samples, [&](size_t i) {
      const int64_t n_context = static_cast<int64_t>(samples[i].ids.size()) - kJudgedSteps;
      const std::vector<int64_t> sizes =
          KlSizes(target_, least->total_tokens / n_layers, most->total_tokens / n_layers, n_context);
      const auto progress = [&](int64_t layers_done) {
        return Tell("measuring", static_cast<int64_t>(i) * n_layers + layers_done,
                    static_cast<int64_t>(samples.size()) * n_layers, "layers");
      };
      ARKVALE_ASSIGN_OR_RETURN(auto sample,
                               MeasureKl(runtime_, target_, samples[i].ids, kJudgedSteps, sizes, progress));
      losses.push_back(std::move(sample));
      most_units = std::max(most_units, (n_context - target_.fixed_tokens()) / target_.unit_tokens());
      return OkStatus();
    }));
    ARKVALE_ASSIGN_OR_RETURN(auto mean, GainsOfLosses(losses, most_units));
    return std::vector{std::move(mean)};
  }

  // The plan of each request, or equal budgets where they are nearer to full attention on the samples held out.
  Result<std::vector<WrittenPlan>> Choose(std::vector<MadePlan> plans, std::span<const PlanSample> held_out) {
    const std::span judged = held_out.first(std::min<size_t>(held_out.size(), static_cast<size_t>(n_validated_)));
    std::vector<Validation> validations;
    if (!judged.empty()) {
      const auto total = static_cast<int64_t>(judged.size()) * (kJudgedSteps - 1);
      ARKVALE_ASSIGN_OR_RETURN(validations, Validate(runtime_, target_, plans, judged, [&](int64_t steps_done) {
                                 return Tell("validating", steps_done, total, "steps");
                               }));
      progress_.Clear();
    } else if (n_validated_ > 0) {
      std::fprintf(stderr,
                   "not validated: every sample was measured; give more of them, or a smaller --sample-fraction\n");
    }
    std::vector<WrittenPlan> written;
    for (size_t i = 0; i < plans.size(); ++i) {
      WrittenPlan w{.plan = std::move(plans[i]), .validation = {}, .layers = {}, .path = {}};
      if (!validations.empty() && validations[i].n_samples > 0) w.validation = validations[i];
      w.uniform_is_better = w.validation && w.validation->kl_uniform < w.validation->kl_plan;
      w.layers = w.uniform_is_better ? UniformLayers(target_, w.plan) : w.plan.layers;
      written.push_back(std::move(w));
    }
    return written;
  }

  Runtime& runtime_;
  const PlanTarget target_;
  const Requests requests_;
  Progress progress_;
  const int64_t n_validated_;
  PlanRun run_;
};

// The file of the one plan, or of each: plan.json of 1024 and 2048 -> plan-1024.json, plan-2048.json.
std::vector<std::string> OutputPaths(const std::string& path, std::span<const std::string> names) {
  if (names.size() == 1) return {path};
  const size_t dot = path.rfind('.');
  const bool has_suffix = dot != std::string::npos && path.find('/', dot) == std::string::npos;
  std::vector<std::string> paths;
  for (const std::string& name : names) {
    paths.push_back(path.substr(0, has_suffix ? dot : path.size()) + "-" + name + (has_suffix ? path.substr(dot) : ""));
  }
  return paths;
}

Status CheckFlags(const Flags& flags) {
  ARKVALE_RETURN_IF_ERROR(flags.samples.Check());
  ARKVALE_RETURN_IF_ERROR(SampleCount(flags.fraction, 1).status());
  if (flags.n_validated < 0) {
    return InvalidArgument("--validate " + std::to_string(flags.n_validated) + ": use 0 for none, or more");
  }
  return ParseRequests(flags, 1).status();
}

Status Run(const Flags& flags) {
  ARKVALE_RETURN_IF_ERROR(CheckFlags(flags));
  ARKVALE_ASSIGN_OR_RETURN(const EngineOptions options, flags.engine.Get());
  ARKVALE_ASSIGN_OR_RETURN(const auto runtime, Runtime::Load(options));
  ARKVALE_ASSIGN_OR_RETURN(PlanTarget target, MakeTarget(flags, *runtime));
  ARKVALE_ASSIGN_OR_RETURN(Requests requests, ParseRequests(flags, static_cast<int64_t>(target.layers.size())));
  ARKVALE_RETURN_IF_ERROR(CheckTotals(target, requests.list));
  const std::vector<std::string> paths = OutputPaths(flags.path, requests.names);
  for (const std::string& path : paths) ARKVALE_RETURN_IF_ERROR(CheckReplaceable(path));
  ARKVALE_ASSIGN_OR_RETURN(const auto samples, flags.samples.Read(*runtime));
  Planner planner(flags, *runtime, std::move(target), std::move(requests));
  ARKVALE_ASSIGN_OR_RETURN(auto plans, planner.Make(samples));
  for (size_t i = 0; i < plans.size(); ++i) {
    ARKVALE_ASSIGN_OR_RETURN(const std::string text, planner.FileText(plans[i]));
    plans[i].path = paths[i];
    ARKVALE_RETURN_IF_ERROR(ReplaceFile(plans[i].path, text));
    ARKVALE_RETURN_IF_ERROR(Stdout().Write(flags.json ? Dump(PlanJson(planner.target(), planner.run(), plans[i]))
                                                      : PlanText(planner.target(), planner.run(), plans[i])));
  }
  return OkStatus();
}

}  // namespace

int RunPlan(int argc, char** argv) {
  Cli cli("plan", "Measures a model on samples of your texts and shares out a KV budget among its layers.");
  Flags flags;
  AddFlags(cli, flags);
  return cli.Run(argc, argv, [&] { return Run(flags); });
}

}  // namespace arkvale::tools
