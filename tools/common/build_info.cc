#include "tools/common/build_info.h"

namespace arkvale::tools {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr const char* kSanitizer = "address";
#elif defined(__SANITIZE_THREAD__)
constexpr const char* kSanitizer = "thread";
#else
constexpr const char* kSanitizer = "";
#endif

}  // namespace

std::string Version() { return ARKVALE_VERSION; }

std::string Compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#else
  return "GCC " __VERSION__;
#endif
}

std::string CompilerFlags() { return ARKVALE_COMPILER_FLAGS; }

std::string LlamaVersion() { return ARKVALE_LLAMA_VERSION; }

std::string BuildType() {
  std::string type = ARKVALE_BUILD_TYPE;
  if (*kSanitizer != '\0') type += std::string("+") + kSanitizer;
  return type;
}

std::string Commit() { return ARKVALE_COMMIT; }

bool FitForTiming() {
#if defined(NDEBUG) && defined(__OPTIMIZE__)
  return *kSanitizer == '\0';
#else
  return false;
#endif
}

}  // namespace arkvale::tools
