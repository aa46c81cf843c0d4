// Which weight types the CPU can multiply: apart from the kernels, so that what only asks does not link them.
#include "ggml-cpu.h"
#include "ggml.h"
#include "ops/dequantise.h"
#include "ops/matmul_cpu.h"

namespace arkvale::cpu {

const ggml_type_traits_cpu& CpuTraits(int32_t type) { return *ggml_get_type_traits_cpu(static_cast<ggml_type>(type)); }

bool MatmulSupports(int32_t ggml_type) {
  if (!CanDequantise(ggml_type) || kTileDepth % BlockElements(ggml_type) != 0) return false;
  const ggml_type_traits_cpu& traits = CpuTraits(ggml_type);
  if (traits.vec_dot == nullptr) return false;
  if (traits.vec_dot_type == GGML_TYPE_F32) return true;
  return CpuTraits(traits.vec_dot_type).from_float != nullptr &&
         BlockElements(ggml_type) % BlockElements(traits.vec_dot_type) == 0;
}

}  // namespace arkvale::cpu
