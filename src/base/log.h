// The process's log: lines on stderr, from level `warning` up unless ARKVALE_LOG names another spdlog level (debug,
// info, error, off). Results never go through it. May be used from any thread.
#pragma once

#include <spdlog/logger.h>

namespace arkvale {

spdlog::logger& Log();

}  // namespace arkvale
