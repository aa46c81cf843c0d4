// The dense run of the selection-quality tasks: feeds a record step by step under full attention while probes look on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/runtime.h"
#include "tools/eval/page_probe.h"
#include "tools/eval/quality_input.h"
#include "tools/eval/quality_study.h"

namespace arkvale::tools {

// Prefills and feeds at most `steps` tokens of `input` to a sequence of `options`, each observed by every study in
// `layers`. `progress` may end the run.
Result<QualityRecord> ObserveRecord(
    Runtime& runtime, const QualityInput& input, const KvOptions& options,
    std::span<const std::unique_ptr<QualityStudy>> studies, const std::vector<int32_t>& layers, int64_t steps,
    const std::function<Status(const char* what, int64_t done, int64_t total)>& progress);

}  // namespace arkvale::tools
