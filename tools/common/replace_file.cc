#include "tools/common/replace_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace arkvale::tools {
namespace {

std::string NextOf(const std::string& path) { return path + ".next"; }

Status CannotBeWritten(const std::string& path, int error) {
  return Internal(path + " cannot be written: " + std::strerror(error));
}

}  // namespace

Status CheckReplaceable(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return CannotBeWritten(path, EISDIR);
  const std::string next = NextOf(path);
  const bool opens = std::ofstream(next, std::ios::binary | std::ios::trunc).is_open();
  const int error = errno;
  std::remove(next.c_str());
  return opens ? OkStatus() : CannotBeWritten(path, error);
}

Status ReplaceFile(const std::string& path, std::string_view text) {
  const std::string next = NextOf(path);
  std::ofstream file(next, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file.fail() && std::rename(next.c_str(), path.c_str()) == 0) return OkStatus();
  const int error = errno;
  std::remove(next.c_str());
  return CannotBeWritten(path, error);
}

}  // namespace arkvale::tools
