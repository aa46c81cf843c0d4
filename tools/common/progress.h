// Progress: one line on stderr that is rewritten in place. Only on a terminal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace arkvale::tools {

class Progress {
 public:
  // Silent where `quiet` or stderr is no terminal.
  explicit Progress(bool quiet);
  ~Progress() { Clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // "prefill [#####.....] 512/1024 tokens"
  void Show(std::string_view what, int64_t done, int64_t total, std::string_view unit);
  // Removes the line, for other output to follow.
  void Clear();

 private:
  bool enabled_;
  bool shown_ = false;
};

}  // namespace arkvale::tools
