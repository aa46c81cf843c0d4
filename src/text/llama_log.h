// libllama's log goes to ours (errors and warnings at debug level: what a user must know comes back as a Status).
#pragma once

#include <string>

namespace arkvale {

// Sets libllama up for this process and takes over its log; further calls do nothing.
void InitLlama();

// While it lives, collects the error lines that libllama logs on this thread.
class LlamaErrors {
 public:
  LlamaErrors();
  ~LlamaErrors();
  LlamaErrors(const LlamaErrors&) = delete;
  LlamaErrors& operator=(const LlamaErrors&) = delete;

  // One line, the errors joined by "; "; "no reason given" when there are none.
  std::string Text() const;

 private:
  std::string lines_;
  std::string* previous_;
};

}  // namespace arkvale
