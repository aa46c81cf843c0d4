// Which model a plan or a session was made for.
#pragma once

#include <string>

#include "model/gguf_view.h"

namespace arkvale {

// 32 lower-case hex digits: the first half of a SHA-256 over all metadata (names, types and bytes in file order), the
// tensor table (names, types, shapes, offsets) and the size of all parts. Weights are not read: a file of the same
// table whose weights differ has the same fingerprint. 128 bits tell files apart that nobody forges; a split model and
// the same in one file differ. Reads the vocabulary: 5 to 25 ms, so ask once and only where it is needed.
std::string Fingerprint(const GgufView& view);

}  // namespace arkvale
