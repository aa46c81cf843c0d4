#include "arkvale/status.h"

namespace arkvale {

std::string_view StatusKindName(StatusKind kind) {
  switch (kind) {
    case StatusKind::kOk: return "Ok";
    case StatusKind::kInvalidArgument: return "InvalidArgument";
    case StatusKind::kNotFound: return "NotFound";
    case StatusKind::kCorrupt: return "Corrupt";
    case StatusKind::kResourceExhausted: return "ResourceExhausted";
    case StatusKind::kUnavailable: return "Unavailable";
    case StatusKind::kCancelled: return "Cancelled";
    case StatusKind::kInternal: return "Internal";
  }
  return "Unknown";
}

std::string Status::ToString() const {
  if (ok()) return "Ok";
  return std::string(StatusKindName(kind_)) + ": " + message_;
}

}  // namespace arkvale
