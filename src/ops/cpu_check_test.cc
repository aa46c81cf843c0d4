#include "ops/cpu_check.h"

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <string>

namespace arkvale {
namespace {

TEST(CpuCheck, NamesWhatTheBuildNeedsAndTheMachineLacks) {
  auto features = std::to_array<CpuFeature>({{"avx2", true, true}, {"fma", false, true}, {"avx512f", false, false}});
  EXPECT_TRUE(CheckCpuFeatures(features).ok());
  EXPECT_TRUE(CheckCpuFeatures({}).ok());
  features[2].compiled = true;
  features[0].available = false;
  const Status status = CheckCpuFeatures(features);
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
  EXPECT_NE(status.message().find("avx2, avx512f, which this machine lacks: build"), std::string::npos)
      << status.message();
}

TEST(CpuCheck, TheMachineThatBuiltThisCanRunIt) { EXPECT_TRUE(CheckCpu().ok()) << CheckCpu().message(); }

// The system's own list of flags is the other witness.
TEST(CpuCheck, AgreesWithTheSystem) {
  std::ifstream file("/proc/cpuinfo");
  std::string flags;
  for (std::string line; flags.empty() && std::getline(file, line);) {
    if (line.starts_with("flags")) flags = line + " ";
  }
  if (flags.empty()) GTEST_SKIP() << "no flags in /proc/cpuinfo";
  for (const CpuFeature& feature : CpuFeatures()) {
    std::string name(feature.name);
    if (name == "sse3") name = "pni";
    if (name == "avx512_vbmi") name = "avx512vbmi";
    EXPECT_EQ(feature.available, flags.find(" " + name + " ") != std::string::npos) << feature.name;
  }
  EXPECT_EQ(KernelsAreScalar(), flags.find(" avx2 ") == std::string::npos);
}

}  // namespace
}  // namespace arkvale
