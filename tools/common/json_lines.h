// Files of JSON lines: one object a line.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "arkvale/status.h"
#include "tools/common/json.h"

namespace arkvale::tools {

// Calls `read(object, line)` for each line of `path` that is not blank, lines counted from 1. NotFound where the file
// cannot be read; Corrupt where a line is no object (the message says that one `wanted` is), or where `read` finds it
// so, with "path:line: " before the reason; other errors of `read` as they are.
Status ReadJsonLines(const std::string& path, const std::string& wanted,
                     const std::function<Status(const Json& object, int64_t line)>& read);

}  // namespace arkvale::tools
