// Exit codes of the binary. A contract: scripts depend on them.
#pragma once

#include "arkvale/status.h"

namespace arkvale::tools {

inline constexpr int kExitDone = 0;
inline constexpr int kExitOther = 1;          // unwritable output, our bugs
inline constexpr int kExitUsage = 2;          // wrong flags or request
inline constexpr int kExitInput = 3;          // a bad or unreadable input file
inline constexpr int kExitResource = 4;       // memory, disk or device used up
inline constexpr int kExitInterrupted = 130;  // Ctrl-C

inline int ExitCode(const Status& status) {
  switch (status.kind()) {
    case StatusKind::kOk: return kExitDone;
    case StatusKind::kInvalidArgument: return kExitUsage;
    case StatusKind::kNotFound:
    case StatusKind::kCorrupt: return kExitInput;
    case StatusKind::kResourceExhausted: return kExitResource;
    case StatusKind::kCancelled: return kExitInterrupted;
    case StatusKind::kUnavailable:
    case StatusKind::kInternal: return kExitOther;
  }
  return kExitOther;
}

}  // namespace arkvale::tools
