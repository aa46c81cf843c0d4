// Output: the process's standard output with every failure noticed.
#pragma once

#include <string_view>

#include "arkvale/status.h"

namespace arkvale::tools {

// Unbuffered: bytes are with the reader when Write returns. One thread.
class Output {
 public:
  explicit Output(int fd) : fd_(fd) {}

  // Internal where the bytes cannot be written; every later call fails too.
  Status Write(std::string_view bytes);

  // The reader closed its end: the command ends quietly with exit code 1.
  bool closed() const { return closed_; }
  bool failed() const { return !status_.ok(); }
  const Status& status() const { return status_; }

 private:
  int fd_;
  bool closed_ = false;
  Status status_;
};

// The process's stdout.
Output& Stdout();

// A closed pipe shall be an error of write(2), not the end of the process. Call first in main.
void IgnoreSigpipe();

}  // namespace arkvale::tools
