#include "base/machine.h"

#include <gtest/gtest.h>

namespace arkvale {
namespace {

TEST(Machine, ReportsPlausibleValues) {
  EXPECT_GE(PhysicalCores(), 1);
  EXPECT_GT(MemoryBytes(), int64_t{1} << 26);
  EXPECT_GT(PeakRssBytes(), int64_t{1} << 18);
  EXPECT_LT(PeakRssBytes(), MemoryBytes());
  EXPECT_FALSE(CpuName().empty());
}

}  // namespace
}  // namespace arkvale
