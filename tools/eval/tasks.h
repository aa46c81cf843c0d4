// The eval tasks. Each gets the arguments from its own name on and returns an exit code.
#pragma once

namespace arkvale::tools {

int RunFidelity(int argc, char** argv);
int RunPasskey(int argc, char** argv);

}  // namespace arkvale::tools
