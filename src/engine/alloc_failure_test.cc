// A machine out of memory, at any point of a request: the request ends as ResourceExhausted, and the engine goes on as
// if it had never come.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "arkvale/engine.h"
#include "base/alloc_failure_test_util.h"
#include "model/gguf_test_util.h"

// libllama's GGUF reader loses its own context when memory runs out inside it; what is ours must not leak.
extern "C" const char* __lsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier): LeakSanitizer's name
extern "C" const char* __lsan_default_suppressions() { return "leak:gguf_init_from_reader\n"; }  // NOLINT

namespace arkvale {
namespace {

using testing::FailAllocation;

constexpr int kPoints = 120;  // where allocations fail, spread over all of a request's

GenerateRequest Request() {
  GenerateRequest request;
  for (int i = 0; i < 60; ++i) request.context += i % 3 == 0 ? "ab" : i % 7 == 0 ? "ba" : "a";
  request.question = "bab";
  request.max_tokens = 6;
  request.kv = {.budget_tokens = 32, .page_tokens = 8, .sink_pages = 1, .window_pages = 1, .dense_layers = 1};
  return request;
}

class AllocFailure : public ::testing::Test {
 protected:
  void SetUp() override {
    // A file of its own: tests run side by side, and a mapped file must not be written again.
    path_ =
        ::testing::TempDir() + "arkvale_" + ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".gguf";
    testing::TinyModel("llama").Write(path_);
    options_ = {.model_path = path_, .threads = 2, .prefill_chunk = 16};
  }

  std::string path_;
  EngineOptions options_;
};

TEST_F(AllocFailure, RequestEndsAndTheNextIsUndisturbed) {
  for (const int32_t kept_sequences : {0, 4}) {
    options_.kept_sequences = kept_sequences;
    const auto engine = Engine::Open(options_);
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    const GenerateRequest request = Request();
    const auto expected = (*engine)->Generate(request, {});
    ASSERT_TRUE(expected.ok()) << expected.status().message();
    int64_t total = 0;
    {
      const FailAllocation count_only;
      ASSERT_TRUE((*engine)->Generate(request, {}).ok());
      total = FailAllocation::count();
    }
    ASSERT_GT(total, kPoints);
    int n_failed = 0;
    for (int64_t n = 1; n <= total; n += std::max<int64_t>(1, total / kPoints)) {
      const auto answer = [&] {
        const FailAllocation fail(n);
        return (*engine)->Generate(request, {});
      }();
      if (answer.ok()) {  // what failed was of no consequence
        EXPECT_EQ(answer.value().token_ids, expected.value().token_ids) << n;
      } else {
        EXPECT_EQ(answer.status().kind(), StatusKind::kResourceExhausted) << n << ": " << answer.status().message();
        ++n_failed;
      }
      const auto next = (*engine)->Generate(request, {});
      ASSERT_TRUE(next.ok()) << n << ": " << next.status().message();
      ASSERT_EQ(next.value().token_ids, expected.value().token_ids) << n;
    }
    EXPECT_GT(n_failed, kPoints / 2);
  }
}

TEST_F(AllocFailure, LoadEndsWithAStatus) {
  int64_t total = 0;
  {
    const FailAllocation count_only;
    ASSERT_TRUE(Engine::Open(options_).ok());
    total = FailAllocation::count();
  }
  for (int64_t n = 1; n <= total; n += std::max<int64_t>(1, total / kPoints)) {
    const Status status = [&] {
      const FailAllocation fail(n);
      return Engine::Open(options_).status();
    }();
    EXPECT_TRUE(status.ok() || status.kind() == StatusKind::kResourceExhausted) << n << ": " << status.message();
  }
}

}  // namespace
}  // namespace arkvale
