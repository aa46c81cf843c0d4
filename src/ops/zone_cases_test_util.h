// Zones that the tests of ZoneAttention compare with the reference, with the bounds of its errors.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "ops/digest_cases_test_util.h"
#include "ops/zone_test_util.h"

namespace arkvale::test {

struct ZoneCase {
  const char* name = "";
  DigestType type = DigestType::kF16;
  int32_t bits = 2;
  int32_t p = 32, dk = 64, dv = 64, heads = 3;
  int64_t n_pages = 40;
  float values = 1.0f;         // largest value
  bool constant_rows = false;  // every other token's values are all the same
};

inline std::vector<ZoneCase> ZoneCases() {
  constexpr auto kF16 = DigestType::kF16, kF32 = DigestType::kF32, kQ8 = DigestType::kQ8;
  return {
      {"tiny", kF16, 2, 8, 8, 8, 1, 3},
      {"smollm", kF16, 2, 32, 64, 64, 3, 40},
      {"smollm_q8", kQ8, 4, 32, 64, 64, 3, 40},
      {"gemma", kF16, 2, 32, 256, 256, 4, 20},
      {"llama_f32", kF32, 4, 32, 128, 128, 4, 20},
      {"odd_40_80", kF32, 4, 16, 40, 80, 7, 40},
      {"odd_128_24", kQ8, 2, 8, 128, 24, 5, 70},
      {"page64", kF16, 4, 64, 96, 96, 2, 20},
      {"page40", kF32, 2, 40, 24, 40, 3, 20},
      {"page24", kQ8, 4, 24, 72, 16, 2, 30},
      {"page1024", kF16, 2, 1024, 16, 32, 1, 3},
  };
}

struct ZoneOutput {
  std::vector<float> out, lse;
};

struct ZoneWanted {
  reference::Attended exact;
  double lse_bound = 0;
  std::vector<double> out_bound;  // [dv]
};

// Random keys and values of one kv head, coded.
struct ZonePages {
  ZonePages(const OpContext& ctx, const ZoneCase& c, uint64_t seed) : ZonePages(ctx, c, Rng(seed)) {}

  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape.dk)); }

  // Empty, one page, gaps, all but a few, all.
  std::vector<std::vector<int32_t>> Lists() const {
    const auto n = static_cast<int32_t>(shape.n_pages);
    std::vector<std::vector<int32_t>> lists = {{}, {0}, {n - 1}, {}, {}, {}};
    for (int32_t page = 0; page < n; ++page) {
      if (page % 3 == 1 || page % 7 == 0) lists[3].push_back(page);
      if (page != n / 2) lists[4].push_back(page);
      lists[5].push_back(page);
    }
    return lists;
  }

  ZoneAttentionItem Item(const float* q, std::span<const int32_t> pages, float* out, float* lse) const {
    return {keys.vectors.data(),
            {keys.planes[0].data(), keys.planes[1].data()},
            values.bytes.data(),
            shape.n_pages,
            pages,
            nullptr,
            q,
            out,
            lse};
  }
  ZoneAttentionArgs Args(std::span<const ZoneAttentionItem> items, float softcap) const {
    return {.digest_type = shape.type,
            .value_bits = shape.bits,
            .page_tokens = shape.p,
            .head_dim_k = shape.dk,
            .head_dim_v = shape.dv,
            .n_q_heads = shape.heads,
            .scale = scale(),
            .softcap = softcap,
            .items = items};
  }

  // One item per list, all with the same queries.
  std::vector<ZoneOutput> AttendLists(const OpContext& ctx, const std::vector<float>& q,
                                      const std::vector<std::vector<int32_t>>& lists) const {
    std::vector<ZoneOutput> outputs(lists.size());
    std::vector<ZoneAttentionItem> items;
    for (size_t i = 0; i < lists.size(); ++i) {
      outputs[i] = Blank();
      items.push_back(Item(q.data(), lists[i], outputs[i].out.data(), outputs[i].lse.data()));
    }
    Run(ctx, Args(items, 0));
    for (ZoneOutput& output : outputs) CutCanary(output);
    return outputs;
  }

  // scale 0: the case's own.
  ZoneOutput Attend(const OpContext& ctx, const std::vector<float>& q, std::span<const int32_t> pages, float softcap,
                    float other_scale = 0) const {
    ZoneOutput output = Blank();
    const ZoneAttentionItem items[] = {Item(q.data(), pages, output.out.data(), output.lse.data())};
    ZoneAttentionArgs args = Args(items, softcap);
    if (other_scale != 0) args.scale = other_scale;
    Run(ctx, args);
    CutCanary(output);
    return output;
  }

  std::vector<double> KeyEstimates(int32_t page, const std::vector<double>& q) const {
    return reference::EstimateKeys(vectors[page], codes[page], q);
  }
  std::vector<double> RebuiltKey(int32_t page, int token) const {
    std::vector<double> key;
    for (int32_t t = 0; t < shape.dk; ++t) {
      key.push_back(vectors[page][t] + vectors[page][shape.dk + t] * (codes[page][token * shape.dk + t] + 0.5));
    }
    return key;
  }

  // One query head; what the kernel may make of it.
  ZoneWanted Wanted(const std::vector<double>& q, std::span<const int32_t> pages, double softcap) const {
    std::vector<double> scores, of_values;
    double error = 0;
    for (const int32_t page : pages) {
      const auto estimates = KeyEstimates(page, q);
      const auto read = reference::CodedValues(coded[page], shape.dv);
      of_values.insert(of_values.end(), read.begin(), read.end());
      for (int32_t i = 0; i < shape.p; ++i) {
        const double score = scale() * estimates[i];
        scores.push_back(softcap > 0 ? softcap * std::tanh(score / softcap) : score);
        error = std::max(error, scale() * KeyError(page, i, q) + 4e-7 * std::abs(score));
      }
    }
    ZoneWanted want{reference::AttendScores(scores, of_values, shape.dv), 0, std::vector<double>(shape.dv, 0.0)};
    if (pages.empty()) return want;
    error +=
        1e-6 * (2 + std::min(softcap, 1e3)) + 2e-7 * want.exact.top;  // exp, tanh and the difference to the maximum
    want.lse_bound = error + 2e-7 * std::abs(want.exact.lse);
    for (double& s : scores) s = std::exp(s - want.exact.lse);
    for (int32_t t = 0; t < shape.dv; ++t) want.out_bound[t] = OutError(pages, scores, error, t);
    return want;
  }

  ZoneCase shape;
  Digests keys;
  CodedPages values;
  std::vector<std::vector<double>> vectors;  // per page
  std::vector<std::vector<int>> codes;
  std::vector<reference::ValueCodes> coded;

 private:
  ZonePages(const OpContext& ctx, const ZoneCase& c, Rng rng)
      : shape(c),
        keys(ctx, {DigestKind::kCode2, c.type, c.p, c.dk},
             Stored(DType::kF32, RandomVector(rng, c.n_pages * c.p * c.dk, 1.0f))),
        values(ctx, c.bits, c.p, c.dv, Stored(DType::kF32, Values(rng, c))) {
    for (int64_t page = 0; page < c.n_pages; ++page) {
      vectors.push_back(keys.Values(page));
      codes.push_back(keys.Codes(page));
      coded.push_back(values.Read(page));
    }
  }
  static std::vector<float> Values(Rng& rng, const ZoneCase& c) {
    std::vector<float> v = RandomVector(rng, c.n_pages * c.p * c.dv, c.values);
    for (int64_t i = 0; c.constant_rows && i < std::ssize(v); ++i) {
      if (i / c.dv % 2 == 0) v[i] = v[i / c.dv * c.dv];
    }
    return v;
  }

  static void Run(const OpContext& ctx, const ZoneAttentionArgs& args) {
    const Status status = ZoneAttention(ctx, args);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  // One element too many, which must stay.
  ZoneOutput Blank() const {
    ZoneOutput blank{std::vector<float>(int64_t{shape.heads} * shape.dv + 1, NAN),
                     std::vector<float>(shape.heads + 1, NAN)};
    blank.out.back() = blank.lse.back() = 7.0f;
    return blank;
  }
  static void CutCanary(ZoneOutput& output) {
    EXPECT_EQ(output.out.back(), 7.0f) << "written past the end";
    EXPECT_EQ(output.lse.back(), 7.0f) << "written past the end";
    output.out.pop_back();
    output.lse.pop_back();
  }

  // What CodeScoreError bounds for any codes, for those of one key: q and w are rounded to steps of their length /
  // 32000 and their products to 2^15 steps of both; and the f32 roundings of q.(m + w/2).
  double KeyError(int32_t page, int32_t token, const std::vector<double>& q) const {
    const std::vector<double>& v = vectors[page];
    const double q_step = Norm(q) / 32000, w_step = Norm({v.begin() + shape.dk, v.end()}) / 32000;
    double error = 0;
    for (int32_t t = 0; t < shape.dk; ++t) {
      const double of_product =
          0.5 * (q_step * v[shape.dk + t] + w_step * std::abs(q[t]) + (0x1p15 + 1) * q_step * w_step);
      error += 1.01 * codes[page][token * shape.dk + t] * of_product;
    }
    return error + 0x1p-23 * (4 + std::sqrt(2.0 * shape.dk)) * 2 * Norm(q) * Norm(v);
  }

  // weights [tokens]: softmax. Every one may be off by twice the scores' error, relative to itself; besides a = weight
  // st by a step of its strip (ops/zone_attention.h), and the sums by roundings of f32.
  double OutError(std::span<const int32_t> pages, const std::vector<double>& weights, double error, int32_t dim) const {
    constexpr int32_t kStrip = 32;
    const double levels = (1 << shape.bits) - 1;
    double sum = 0, terms = 0, rounded = 0;
    for (size_t i = 0; i < pages.size(); ++i) {
      const reference::ValueCodes& page = coded[pages[i]];
      for (int32_t first = 0; first < shape.p; first += kStrip) {
        double most = 0, total = 0, all_codes = 0;
        for (int32_t token = first; token < std::min(first + kStrip, shape.p); ++token) {
          const double weight = weights[i * shape.p + token], a = weight * page.st[token];
          const int code = page.codes[int64_t{token} * shape.dv + dim];
          most = std::max(most, a);
          total += a;
          all_codes += code;
          sum += weight * std::abs(page.lo[token] + page.st[token] * code);
          terms += weight * (std::abs(page.lo[token]) + page.st[token] * code);
        }
        rounded += std::max(most / 255, levels * total / 32000) * all_codes;
      }
    }
    const double n = static_cast<double>(pages.size()) * (1 + shape.p / kStrip) + 40;
    return std::expm1(2 * error) * (sum + rounded) + rounded + 0x1p-24 * n * terms + 1e-25;
  }
};

}  // namespace arkvale::test
