// How this binary was built.
#pragma once

#include <string>

namespace arkvale::tools {

std::string Version();
// "GCC 12.2.0"
std::string Compiler();
// What CMake gives it for every file: "-O3 -DNDEBUG".
std::string CompilerFlags();
// The llama.cpp this binary holds: "llama.cpp of llama-cpp-python 0.3.36".
std::string LlamaVersion();
// CMake's build type with the sanitizer, if any: "Release", "Debug+address".
std::string BuildType();
// The commit the build tree was configured at; empty outside a repository.
std::string Commit();
// False where times measured by this binary mean nothing: debug builds and sanitizers.
bool FitForTiming();

}  // namespace arkvale::tools
