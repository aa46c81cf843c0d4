#include "text/llama_log.h"

#include <llama.h>

#include <mutex>
#include <string_view>

#include "base/log.h"

namespace arkvale {
namespace {

thread_local std::string* error_lines = nullptr;

void OnLog(ggml_log_level level, const char* text, void*) {
  std::string_view line = text;
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  if (line.empty()) return;
  if (level == GGML_LOG_LEVEL_ERROR && error_lines != nullptr) {
    if (!error_lines->empty()) *error_lines += "; ";
    *error_lines += line;
  }
  const bool matters = level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN;
  Log().log(matters ? spdlog::level::debug : spdlog::level::trace, "llama.cpp: {}", line);
}

}  // namespace

void InitLlama() {
  static std::once_flag once;
  std::call_once(once, [] {
    llama_log_set(OnLog, nullptr);
    llama_backend_init();
  });
}

LlamaErrors::LlamaErrors() : previous_(error_lines) { error_lines = &lines_; }
LlamaErrors::~LlamaErrors() { error_lines = previous_; }

std::string LlamaErrors::Text() const { return lines_.empty() ? "no reason given" : lines_; }

}  // namespace arkvale
