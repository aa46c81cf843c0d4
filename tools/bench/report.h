// What `bench` prints: JSON lines, or a table for people.
#pragma once

#include <string>
#include <vector>

#include "tools/bench/rounds.h"

namespace arkvale::tools {

std::string CellTable(const Cell& cell, const std::vector<Measured>& measured, const std::vector<Ratio>& ratios);

std::string CellJsonLines(const Cell& cell, const std::vector<Measured>& measured);

// Says on stderr what makes the times of this build, now, on this machine doubtful.
void WarnAboutTiming();

}  // namespace arkvale::tools
