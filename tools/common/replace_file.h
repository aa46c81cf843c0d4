// Files that are written as a whole.
#pragma once

#include <string>
#include <string_view>

#include "arkvale/status.h"

namespace arkvale::tools {

// Afterwards `path` holds the old bytes or the new ones, never half of them: the text is written to `path`.next, which
// takes its place. Internal where that fails.
Status ReplaceFile(const std::string& path, std::string_view text);

// Whether ReplaceFile could write there: for before long work. Internal where it could not.
Status CheckReplaceable(const std::string& path);

}  // namespace arkvale::tools
