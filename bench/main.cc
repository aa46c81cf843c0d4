#include <benchmark/benchmark.h>

#include <cstdio>

#include "base/machine.h"
#include "bench/bench_util.h"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
#if !defined(NDEBUG) || !defined(__OPTIMIZE__)
  std::fputs("warning: this is a debug build: its times mean nothing\n", stderr);
#endif
  constexpr double kMaxLoadPerCore = 0.3;
  if (const double load = arkvale::LoadPerCore(); load > kMaxLoadPerCore) {
    std::fprintf(stderr, "warning: load of %.2f per core > %.1f: other work disturbs the times\n", load,
                 kMaxLoadPerCore);
  }
  benchmark::AddCustomContext("cpu", arkvale::CpuName());
  benchmark::AddCustomContext("threads of an op", std::to_string(arkvale::bench::Threads()));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
