#include "tools/common/interrupt.h"

#include <csignal>

namespace arkvale::tools {

std::atomic<bool> g_cancel{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

void CatchInterrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { g_cancel.store(true); };
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace arkvale::tools
