// Ctrl-C: the first one asks the command to end cleanly, the second one kills the process.
#pragma once

#include <atomic>

namespace arkvale::tools {

// Set by SIGINT once CatchInterrupt() was called; blocking reads then return with EINTR. A command sets it itself where
// its output is lost and going on is useless.
extern std::atomic<bool> g_cancel;

void CatchInterrupt();

}  // namespace arkvale::tools
