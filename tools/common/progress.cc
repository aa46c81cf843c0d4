#include "tools/common/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace arkvale::tools {

Progress::Progress(bool quiet) : enabled_(!quiet && isatty(STDERR_FILENO) == 1) {}

void Progress::Show(std::string_view what, int64_t done, int64_t total, std::string_view unit) {
  if (!enabled_) return;
  constexpr int kWidth = 30;
  const int filled = static_cast<int>(total > 0 ? std::min(done, total) * kWidth / total : 0);
  const std::string bar = std::string(filled, '#') + std::string(kWidth - filled, '.');
  std::fprintf(stderr, "\r\033[K%.*s [%s] %lld/%lld %.*s", static_cast<int>(what.size()), what.data(), bar.c_str(),
               static_cast<long long>(done), static_cast<long long>(total), static_cast<int>(unit.size()), unit.data());
  shown_ = true;
}

void Progress::Clear() {
  if (!shown_) return;
  std::fputs("\r\033[K", stderr);
  shown_ = false;
}

}  // namespace arkvale::tools
