// A thread with a large stack, for parsers of others that recurse with the nesting of their input.
#pragma once

#include <cstddef>
#include <functional>

#include "arkvale/status.h"

namespace arkvale {

inline constexpr size_t kLargeStackBytes = 256 << 20;  // address space; memory only as far as it is used

// Runs `work`, which must not throw, on such a thread and waits for it. ResourceExhausted: no such thread to be had.
Status RunOnLargeStack(const std::function<void()>& work);

}  // namespace arkvale
