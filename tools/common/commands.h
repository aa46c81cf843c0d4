// The commands of the binary. Each gets the arguments from its own name on and returns an exit code.
#pragma once

namespace arkvale::tools {

int RunGenerate(int argc, char** argv);
int RunChat(int argc, char** argv);
int RunInspect(int argc, char** argv);
int RunSynth(int argc, char** argv);
int RunBench(int argc, char** argv);
int RunEval(int argc, char** argv);
int RunPlan(int argc, char** argv);

}  // namespace arkvale::tools
