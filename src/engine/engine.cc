#include "arkvale/engine.h"

#include <utility>

#include "engine/generation.h"
#include "engine/runtime.h"

namespace arkvale {

struct Engine::Impl {
  std::unique_ptr<Runtime> runtime;
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options) {
  ARKVALE_ASSIGN_OR_RETURN(auto runtime, Runtime::Load(options));
  auto impl = std::make_unique<Impl>(Impl{std::move(runtime)});
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Result<GenerateResult> Engine::Generate(const GenerateRequest& request, const GenerateCallbacks& callbacks,
                                        GenerateResult* partial) {
  GenerateResult result;
  const Status status = Generation(*impl_->runtime, request, callbacks, result).Run();
  if (partial != nullptr) *partial = result;
  if (!status.ok()) return status;
  return result;
}

const ModelInfo& Engine::model() const { return impl_->runtime->info(); }
int32_t Engine::threads() const { return impl_->runtime->threads(); }

}  // namespace arkvale
