// Texts a user gives: files, standard input, arguments.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "arkvale/status.h"

namespace arkvale::tools {

// No vocabulary spends more bytes on a token: a text beyond ctx_tokens times this cannot fit and is not read.
inline constexpr int64_t kMaxBytesPerToken = 512;

// The whole of `path` ("-" = standard input). NotFound where it cannot be read, Corrupt with the byte offset where it
// is not UTF-8, InvalidArgument where it is longer than `ctx_tokens` can hold, Cancelled after Ctrl-C.
Result<std::string> ReadText(const std::string& path, int64_t ctx_tokens);

// The same for a grammar or a JSON schema: InvalidArgument where it is longer than kMaxRulesBytes, Corrupt where it is
// blank.
inline constexpr int64_t kMaxRulesBytes = 1 << 20;
Result<std::string> ReadRules(const std::string& path);

// InvalidArgument with the byte offset where an argument is not UTF-8.
Status CheckUtf8Argument(std::string_view flag, std::string_view text);

}  // namespace arkvale::tools
