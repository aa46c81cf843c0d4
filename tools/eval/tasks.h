// The eval tasks. Each gets the arguments from its own name on and returns an exit code.
#pragma once

namespace arkvale::tools {

int RunFidelity(int argc, char** argv);
int RunLongBench(int argc, char** argv);
int RunPasskey(int argc, char** argv);
int RunPerplexity(int argc, char** argv);
int RunRuler(int argc, char** argv);
int RunRecall(int argc, char** argv);
int RunSparsity(int argc, char** argv);
int RunDynamics(int argc, char** argv);
int RunRecalls(int argc, char** argv);

}  // namespace arkvale::tools
