// arkvale beside every other policy, and every plan beside its policy with one budget for all layers, at equal mean
// budget, page and context: differences of the mean KL, paired on windows.
#pragma once

#include <span>
#include <string>

#include "tools/eval/fidelity_totals.h"

namespace arkvale::tools {

// Rows {context_tokens, policy, plan, budget_tokens, page_tokens, digest, versus, versus_plan, windows, left_out,
// kl_diff, kl_diff_lo, kl_diff_hi, windows_copy, left_out_copy, kl_copy_diff, kl_copy_diff_lo, kl_copy_diff_hi} of one
// context length. A difference is the policy's mean KL in nats less the other's: negative where it is nearer to full
// attention; its interval is that of the mean over windows. Windows with an error under either are left out; null where
// none is there. A policy that budgets tokens is beside every page size.
Json VersusRows(std::span<const CellTotals> cells);

// Empty where `summary` has no such row.
std::string VersusTable(const Json& summary);

}  // namespace arkvale::tools
