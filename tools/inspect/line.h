// A line of what `arkvale inspect` says to people.
#pragma once

#include <string>

namespace arkvale::tools {

// The name, in a column of its own, and the value.
inline std::string Line(std::string name, const std::string& value) {
  name.resize(16, ' ');
  return name + value + "\n";
}

}  // namespace arkvale::tools
