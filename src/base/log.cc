#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>

#include <cstdlib>
#include <memory>

namespace arkvale {

spdlog::logger& Log() {
  // Never destroyed: threads may log while the process ends.
  static spdlog::logger* const logger = [] {
    auto* made = new spdlog::logger("arkvale", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%L %v");
    const char* level = std::getenv("ARKVALE_LOG");
    made->set_level(level != nullptr ? spdlog::level::from_str(level) : spdlog::level::warn);
    return made;
  }();
  return *logger;
}

}  // namespace arkvale
