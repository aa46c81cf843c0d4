// Naive double twins of the value codes and of attention over codes: what tests compare the kernels with.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/reference_attention.h"

namespace arkvale::reference {

struct ValueCodes {
  std::vector<double> lo, st;  // [n_tokens], rounded to f16
  std::vector<int> codes;      // [n_tokens, d]
};

// Of values [n_tokens, d] (ops/value_codes.h).
ValueCodes CodeValues(int bits, const std::vector<double>& values, int64_t d);

// Values [n_tokens, d] that the codes stand for.
std::vector<double> CodedValues(const ValueCodes& coded, int64_t d);

// q.k of every key as code2's vectors [2 d] and codes [n_tokens, d] rebuild it.
std::vector<double> EstimateKeys(const std::vector<double>& vectors, const std::vector<int>& codes,
                                 const std::vector<double>& q);

// Softmax over tokens of these scores and values [n_tokens, d]; `top` and `largest_value` of all of them.
Attended AttendScores(const std::vector<double>& scores, const std::vector<double>& values, int64_t d);

}  // namespace arkvale::reference
