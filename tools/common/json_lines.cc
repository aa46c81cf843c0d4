#include "tools/common/json_lines.h"

#include <cerrno>
#include <cstring>
#include <fstream>

namespace arkvale::tools {

Status ReadJsonLines(const std::string& path, const std::string& wanted,
                     const std::function<Status(const Json& object, int64_t line)>& read) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound(path + ": cannot be read: " + std::strerror(errno));
  int64_t n_lines = 0;
  for (std::string line; std::getline(file, line);) {
    ++n_lines;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const Json object = Json::parse(line, nullptr, false);
    const Status status =
        object.is_object() ? read(object, n_lines) : Corrupt("not a JSON object: one " + wanted + " a line is wanted");
    if (status.kind() == StatusKind::kCorrupt) {
      return Corrupt(path + ":" + std::to_string(n_lines) + ": " + status.message());
    }
    ARKVALE_RETURN_IF_ERROR(status);
  }
  if (file.bad()) return NotFound(path + ": cannot be read: " + std::strerror(errno));
  return OkStatus();
}

}  // namespace arkvale::tools
