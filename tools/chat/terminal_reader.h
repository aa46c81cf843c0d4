// A terminal with line editing and history (libedit).
#pragma once

#include <memory>

#include "tools/chat/line_reader.h"

namespace arkvale::tools {

// Null where libedit cannot drive the terminal.
std::unique_ptr<LineReader> MakeTerminalReader();

}  // namespace arkvale::tools
