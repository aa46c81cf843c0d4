// CatchBadAlloc: turns std::bad_alloc into ResourceExhausted where a room's public calls end.
#pragma once

#include <new>
#include <utility>

#include "arkvale/status.h"

namespace arkvale {

// The message is short enough for a string that owns no heap memory if there is none left even for more words.
inline Status OutOfMemory() noexcept {
  try {
    return ResourceExhausted("memory is used up (an allocation failed): drop sequences or use a shorter context");
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory");
  }
}

// Runs `body`, which returns a Status or a Result.
template <typename Body>
auto CatchBadAlloc(Body&& body) -> decltype(body()) {
  try {
    return std::forward<Body>(body)();
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  }
}

}  // namespace arkvale
