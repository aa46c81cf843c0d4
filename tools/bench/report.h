// What `bench` prints for people.
#pragma once

#include <string>
#include <vector>

#include "tools/bench/rounds.h"

namespace arkvale::tools {

// `rows`: RowJson of each contender.
std::string CellTable(const Cell& cell, const std::vector<Measured>& measured, const std::vector<Json>& rows,
                      const std::vector<Ratio>& ratios);

// `growths`: GrowthJson of each line; empty text for none.
std::string GrowthTable(const std::vector<Json>& growths);

// `machine`: RunJson.
std::string MachineLines(const Json& machine);

// Says on stderr what makes the times of this build, now, on this machine doubtful.
void WarnAboutTiming(double load_per_core);

}  // namespace arkvale::tools
