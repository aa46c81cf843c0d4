// PackedWeights: a model's matrices copied out of its mapped file into the layout that decode steps read fastest
// (ops/packed_weight.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "arkvale/status.h"
#include "base/thread_pool.h"
#include "model/config.h"
#include "model/weights.h"

namespace arkvale {

// Owner of the copies, one block of memory. Movable; the views handed out by Pack stay valid.
class PackedWeights {
 public:
  // Bytes that Pack takes: 0 where no matrix can be packed. Matrices of other types (f16, iq4_xs ...), routers, and
  // experts whose rows do not fill groups stay in the file.
  static int64_t Bytes(const ModelConfig& config, const Weights& weights);

  // Packs every matrix that can be, tensor by tensor on all threads of the pool, and points `weights`, whose matrices
  // must lie in a MappedFile and be unpacked, at the copies; step_bytes follows. The embedding stays a view of the
  // file, also where it is the output too. The pages of the originals leave this process's memory as it goes.
  // ResourceExhausted where there is no memory for them: `weights` is then unchanged.
  static Result<PackedWeights> Pack(ThreadPool& pool, const ModelConfig& config, Weights& weights);

 private:
  // Huge pages: a step reads all of the copies in turn, and would need an entry of the TLB for each 4 KiB of them.
  static constexpr std::align_val_t kAlign{size_t{2} << 20};
  struct Free {
    void operator()(std::byte* p) const { ::operator delete(p, kAlign); }
  };
  using Memory = std::unique_ptr<std::byte[], Free>;  // NOLINT(*-avoid-c-arrays): bytes, not elements

  explicit PackedWeights(Memory memory) : memory_(std::move(memory)) {}
  Memory memory_;
};

}  // namespace arkvale
