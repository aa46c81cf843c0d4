#include "tools/eval/residency_sim.h"

#include <gtest/gtest.h>

namespace arkvale::tools {
namespace {

std::vector<int32_t> Hot(const ResidencySim& sim, int32_t n_pages) {
  std::vector<int32_t> pages;
  for (int32_t page = 0; page < n_pages; ++page) {
    if (sim.hot(page)) pages.push_back(page);
  }
  return pages;
}

using Pages = std::vector<int32_t>;
using Scores = std::vector<float>;

// Algorithms 10.2: n_s = 1, n_w = 2, B = 5, k = 1.
PageBudget ExampleBudget() { return {.pages = 5, .topk = 1, .sinks = 1, .window = 2}; }

TEST(ResidencySim, WorkedExample) {
  ResidencySim sim(ExampleBudget());
  sim.EndPrefill(5, Scores(5));
  EXPECT_FALSE(sim.over_budget());
  // Page 5 opens: pages 1, 2, 3 compete, the worst goes.
  sim.Step(6, Scores{9, 5, 3, 1, 5});
  EXPECT_EQ(Hot(sim, 6), (Pages{0, 1, 2, 4, 5}));
  sim.Step(6, Scores{9, 3, 1.5f, 4.5f, 5});
  EXPECT_EQ(Hot(sim, 6), (Pages{0, 1, 3, 4, 5}));
  EXPECT_EQ(sim.recalled(), 1);
  sim.Step(7, Scores{0, 3, 1, 2, 4});
  EXPECT_EQ(Hot(sim, 7), (Pages{0, 1, 4, 5, 6}));
  EXPECT_EQ(sim.recalled(), 1);
  EXPECT_EQ(sim.inserted(), 2);
  EXPECT_EQ(sim.steps(), 3);
}

TEST(ResidencySim, TheWindowsPageMayBeDropped) {
  ResidencySim sim(ExampleBudget(), WindowExit::kDrop);
  sim.EndPrefill(6, Scores{0, 3, 1, 2, 0});
  EXPECT_EQ(Hot(sim, 6), (Pages{0, 1, 3, 4, 5}));
  sim.Step(7, Scores{0, 3, 1, 2, 4});
  EXPECT_EQ(Hot(sim, 7), (Pages{0, 1, 4, 5, 6})) << "dropped, then recalled";
  EXPECT_EQ(sim.recalled(), 1);
}

TEST(ResidencySim, NothingIsPinnedInThePapersSetUp) {
  ResidencySim sim(UnpinnedBudget(3, 2));
  sim.EndPrefill(5, Scores{1, 5, 4, 3, 2});
  EXPECT_EQ(Hot(sim, 5), (Pages{1, 2, 3}));
  sim.Step(5, Scores{9, 5, 4, 3, 8});
  EXPECT_EQ(Hot(sim, 5), (Pages{0, 1, 4})) << "of those that were there the best stays";
  EXPECT_EQ(sim.recalled(), 2);
  sim.Step(6, Scores{9, 5, 4, 3, 8, 1});
  EXPECT_EQ(Hot(sim, 6), (Pages{0, 1, 4})) << "the new page is the worst";
  EXPECT_EQ(sim.recalled(), 2);
  EXPECT_EQ(sim.inserted(), 1);
}

}  // namespace
}  // namespace arkvale::tools
