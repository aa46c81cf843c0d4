#include "tools/common/replace_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace arkvale::tools {

Status ReplaceFile(const std::string& path, std::string_view text) {
  const std::string next = path + ".next";
  std::ofstream file(next, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file.fail() && std::rename(next.c_str(), path.c_str()) == 0) return OkStatus();
  const std::string reason = std::strerror(errno);
  std::remove(next.c_str());
  return Internal(path + " cannot be written: " + reason);
}

}  // namespace arkvale::tools
