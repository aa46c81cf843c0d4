// Long-range retrieval by the induction model (src/model/synthetic_induction.h), whose dense answers are exact: what a
// digest loses under a budget is lost by the selection of pages and by nothing else.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "engine/session.h"
#include "model/synthetic.h"
#include "tests/logits.h"

namespace arkvale::testing {

inline constexpr int kNeedles = 20;

// Eight capitals: the model is given the first four and has to answer with the others.
struct Needle {
  std::string key, value;
};

struct Haystack {
  std::string text;
  std::vector<Needle> needles;
};

// What lies around the needles, which are eight capitals in all of them:
// kNoise: a few sentences in small letters over and over; five needles in each of four haystacks, the only capitals. In
//   the model's code capitals lie outside the box of all else here, so that every bound on a page ranks the needles'
//   pages, at most ten, before all others, and twelve have a place.
// kCrowd: the same sentences, all twenty needles and for each three decoys whose key has one other letter: about a
//   hundred pages have capitals, twelve have a place.
// kPairs: no sentences, only such records: every page is full of keys that share letters with the one asked for. A
//   summary of a whole page sees the letters, not which follow which.
enum class HaystackKind { kNoise, kCrowd, kPairs };

inline std::string_view HaystackName(HaystackKind kind) {
  return kind == HaystackKind::kNoise ? "noise" : kind == HaystackKind::kCrowd ? "crowd" : "pairs";
}

// Haystacks over which the twenty needles are dealt out.
inline int HaystackParts(HaystackKind kind) { return kind == HaystackKind::kNoise ? 4 : 1; }

// Records of eight capitals and a space. No four letters of one record in a row occur in another or twice in one, so
// that what the model matches is unique.
class Records {
 public:
  explicit Records(std::string_view seed) : rng_(seed) {}

  std::string Next(std::string key = "") {
    for (;;) {
      std::string record = key;
      while (record.size() < 8) record += Letter();
      std::vector<std::string> matched;
      for (size_t i = 0; i <= 4; ++i) matched.push_back(record.substr(i, 4));
      const std::set<std::string> distinct(matched.begin(), matched.end());
      if (distinct.size() < matched.size() ||
          std::any_of(matched.begin(), matched.end(), [&](const auto& m) { return seen_.contains(m); })) {
        key.clear();  // a decoy whose key is taken: any record will do
        continue;
      }
      seen_.insert(matched.begin(), matched.end());
      return record + " ";
    }
  }
  std::string Decoy(std::string key) {
    char& letter = key[rng_.Below(4)];
    const char old = letter;
    while (letter == old) letter = Letter();
    return Next(key);
  }
  Rng& rng() { return rng_; }

 private:
  char Letter() { return static_cast<char>('A' + static_cast<int>(rng_.Below(26))); }

  Rng rng_;
  std::set<std::string> seen_;
};

// Part `part` of the kind's haystacks: the needles i with i mod parts = part, needle i at (i + 1/2) / 20 of the text.
inline Haystack MakeHaystack(HaystackKind kind, int part, size_t n_bytes) {
  constexpr std::string_view kSentences =
      "the grass is green. the sky is blue. the sun is yellow. here we go. there and back again. ";
  const int n_decoys = kind == HaystackKind::kNoise ? 0 : 3 * kNeedles;
  Records records("induction/" + std::string(HaystackName(kind)) + "/" + std::to_string(part));
  Haystack hay;
  std::vector<std::pair<double, std::string>> inserts;  // depth, record
  for (int i = part; i < kNeedles; i += HaystackParts(kind)) {
    const std::string record = records.Next();
    hay.needles.push_back({record.substr(0, 4), record.substr(4, 4)});
    inserts.emplace_back((i + 0.5) / kNeedles, record);
  }
  for (int i = 0; i < n_decoys; ++i) {
    const std::string& key = hay.needles[static_cast<size_t>(i % kNeedles)].key;
    inserts.emplace_back(records.rng().Uniform(0, 0.95f), records.Decoy(key));
  }
  std::sort(inserts.begin(), inserts.end());
  const size_t end = n_bytes - 16;  // room for the question and the answer
  size_t next = 0;
  while (hay.text.size() < end) {
    const double depth = static_cast<double>(hay.text.size()) / static_cast<double>(n_bytes);
    const std::string piece = next < inserts.size() && depth >= inserts[next].first ? inserts[next++].second
                              : kind == HaystackKind::kPairs                        ? records.Next()
                                                                                    : std::string(kSentences);
    hay.text += piece.substr(0, end - hay.text.size());
  }
  return hay;
}

// The model's ids are the bytes.
inline std::vector<int32_t> ByteIds(std::string_view text) {
  std::vector<int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
  return ids;
}

class InductionRig {
 public:
  InductionRig() {
    path_ = ::testing::TempDir() + "induction-" + std::to_string(getpid()) + ".gguf";
    EXPECT_EQ(WriteSynthetic({.preset = "induction"}, path_).ToString(), OkStatus().ToString());
    auto loaded = Runtime::Load({.model_path = path_, .threads = 2});
    EXPECT_TRUE(loaded.ok()) << loaded.status().ToString();
    if (loaded.ok()) runtime_ = std::move(*loaded);
  }
  ~InductionRig() { std::filesystem::remove(path_); }

  bool ok() const { return runtime_ != nullptr; }
  const std::string& path() const { return path_; }
  Runtime& runtime() { return *runtime_; }

  Session Prefill(std::string_view text) {
    KvOptions full;
    full.policy = KvPolicyKind::kFull;
    Session session = *Session::Make(*runtime_, full);
    const Status status = session.Prefill(ByteIds(text), false);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return session;
  }

  // Greedy continuation after `question` was fed step by step; '?' stands for a token that is no byte.
  static std::string Answer(const Session& context, const KvOptions& options, std::string_view question, int n_bytes) {
    auto fork = context.Fork(options);
    EXPECT_TRUE(fork.ok()) << fork.status().ToString();
    if (!fork.ok()) return "";
    std::string answer;
    const std::vector<int32_t> ids = ByteIds(question);
    for (size_t i = 0; i < ids.size() + static_cast<size_t>(n_bytes) - 1; ++i) {
      const int32_t id = i < ids.size() ? ids[i] : static_cast<uint8_t>(answer.back());
      const Status status = fork->Step(id);
      EXPECT_TRUE(status.ok()) << status.ToString();
      if (!status.ok()) return answer;
      if (i + 1 < ids.size()) continue;
      const int32_t next = ArgMax(fork->logits());
      answer += next < 256 ? static_cast<char>(next) : '?';
    }
    return answer;
  }

  static int Retrieved(const Session& context, const KvOptions& options, const std::vector<Needle>& needles) {
    return static_cast<int>(std::count_if(needles.begin(), needles.end(), [&](const Needle& n) {
      return Answer(context, options, n.key, static_cast<int>(n.value.size())) == n.value;
    }));
  }

 private:
  std::string path_;
  std::unique_ptr<Runtime> runtime_;
};

inline constexpr std::array kAllDigests = {DigestKind::kCentroid,   DigestKind::kSphereMax, DigestKind::kSphereCenter,
                                           DigestKind::kSphereMean, DigestKind::kCuboidMax, DigestKind::kCuboidCenter,
                                           DigestKind::kCuboidMean, DigestKind::kCode1,     DigestKind::kCode2};

struct RetrievalRow {
  std::string digest;  // or "dense"
  int retrieved = 0;   // of kNeedles
};

// Every digest on haystacks of n_tokens: one prefill each, a fork per digest and needle. Prints the row.
inline std::vector<RetrievalRow> RetrievalTable(InductionRig& rig, HaystackKind kind, size_t n_tokens) {
  std::vector<std::pair<std::string, KvOptions>> runs = {{"dense", {}}};
  runs[0].second.policy = KvPolicyKind::kFull;
  for (const DigestKind digest : kAllDigests) {
    KvOptions options;
    options.budget_tokens = 512;
    options.digest = digest;
    runs.emplace_back(DigestName(digest), options);
  }
  std::vector<RetrievalRow> rows;
  for (const auto& [name, options] : runs) rows.push_back({name, 0});
  for (int part = 0; part < HaystackParts(kind); ++part) {
    const Haystack hay = MakeHaystack(kind, part, n_tokens);
    const Session context = rig.Prefill(hay.text);
    for (size_t r = 0; r < runs.size(); ++r) {
      rows[r].retrieved += InductionRig::Retrieved(context, runs[r].second, hay.needles);
    }
  }
  std::printf("retrieved of %d, haystack %s, %zu tokens, budget 512, p 32:", kNeedles,
              std::string(HaystackName(kind)).c_str(), n_tokens);
  for (const RetrievalRow& row : rows) std::printf(" %s %d", row.digest.c_str(), row.retrieved);
  std::printf("\n");
  return rows;
}

inline int RetrievedBy(const std::vector<RetrievalRow>& rows, std::string_view digest) {
  const auto at = std::find_if(rows.begin(), rows.end(), [&](const auto& r) { return r.digest == digest; });
  return at != rows.end() ? at->retrieved : -1;
}

// Prints a haystack's row. Asserted is what the construction gives, not what a seed gives.
inline void ExpectRetrieval(HaystackKind kind, size_t n_tokens) {
  InductionRig rig;
  ASSERT_TRUE(rig.ok());
  const std::vector<RetrievalRow> rows = RetrievalTable(rig, kind, n_tokens);
  EXPECT_EQ(RetrievedBy(rows, "dense"), kNeedles);
  // A code's error on a key is far below the loss by one wrong letter, and fewer keys than places come that near.
  EXPECT_EQ(RetrievedBy(rows, "code1"), kNeedles);
  EXPECT_EQ(RetrievedBy(rows, "code2"), kNeedles);
  if (kind != HaystackKind::kNoise) return;
  for (const char* box : {"cuboid-max", "cuboid-center", "cuboid-mean"}) EXPECT_EQ(RetrievedBy(rows, box), kNeedles);
}

}  // namespace arkvale::testing
