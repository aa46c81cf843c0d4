// Plan files: any bytes give a plan that keeps its rules and can be written and read again, or one line of error.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "plan/plan_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace arkvale;
  const auto plan = ParsePlan({reinterpret_cast<const char*>(data), size});
  if (!plan.ok()) {
    const Status error = plan.status();
    const std::string& message = error.message();
    ARKVALE_CHECK(error.kind() == StatusKind::kCorrupt && !message.empty());
    ARKVALE_CHECK(message.size() < 1000 && message.find('\n') == message.npos);
    return 0;
  }
  ARKVALE_CHECK(plan->Validate().ok());
  const auto n_layers = static_cast<int32_t>(plan->layers.size());
  ARKVALE_CHECK(CheckPlanFits(*plan, plan->model_fingerprint, "", n_layers).ok());
  ARKVALE_CHECK(!CheckPlanFits(*plan, plan->model_fingerprint, "", n_layers + 1).ok());
  KvOptions options{.sink_pages = 0, .window_pages = 1};
  ApplyPlan(*plan, options);
  const Status fits = options.Validate(n_layers, 1);
  ARKVALE_CHECK(fits.ok() || fits.message().find("sinks + window + 1") != std::string::npos);
  const auto text = FormatPlan(*plan);
  if (!text.ok()) {  // a text may grow when it is written anew, by escapes
    ARKVALE_CHECK(text.status().message().find("shorten made_by") != std::string::npos);
    return 0;
  }
  const auto again = ParsePlan(*text);
  ARKVALE_CHECK(again.ok() && *again == *plan);
  return 0;
}
