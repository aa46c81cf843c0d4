#include "arkvale/engine.h"

#include <string>
#include <utility>

#include "base/bad_alloc.h"
#include "engine/engine_impl.h"
#include "engine/generation.h"

namespace arkvale {

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options) {
  if (options.kept_sequences < 0) {
    return InvalidArgument("kept sequences " + std::to_string(options.kept_sequences) + " < 0: use 0 for none");
  }
  ARKVALE_ASSIGN_OR_RETURN(auto runtime, Runtime::Load(options));
  return std::unique_ptr<Engine>(new Engine(std::make_unique<Impl>(std::move(runtime), options.kept_sequences)));
}

Result<GenerateResult> Engine::Generate(const GenerateRequest& request, const GenerateCallbacks& callbacks,
                                        GenerateResult* partial) {
  GenerateResult result;
  const Status status =
      CatchBadAlloc([&] { return RunGeneration(*impl_->runtime, impl_->prefixes, request, callbacks, result); });
  if (partial != nullptr) *partial = result;
  if (!status.ok()) return status;
  return result;
}

Status Engine::ApplyPlan(std::string_view plan_text, KvOptions& options) const {
  return CatchBadAlloc([&] { return impl_->runtime->ApplyPlan(plan_text, options); });
}

const ModelInfo& Engine::model() const { return impl_->runtime->info(); }
int32_t Engine::threads() const { return impl_->runtime->threads(); }
KvType Engine::kv_type() const { return impl_->runtime->kv_type(); }

}  // namespace arkvale
