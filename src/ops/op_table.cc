#include "ops/op_table.h"

#include "ggml-cpu.h"
#include "ops/cpu_kernels.h"

namespace arkvale {

const OpTable& CpuOps() {
  static const OpTable table = [] {
    ggml_cpu_init();  // row kernels read tables that this fills
    return OpTable{
        .device_name = "cpu",
        .matmul = cpu::Matmul,
        .embed = cpu::Embed,
        .rms_norm = cpu::RmsNorm,
        .rope_angles = cpu::RopeAngles,
        .rope = cpu::Rope,
        .glu = cpu::Glu,
        .route_experts = cpu::RouteExperts,
        .gather_rows = cpu::GatherRows,
        .scatter_add_rows = cpu::ScatterAddRows,
        .paged_attention = cpu::PagedAttention,
        .prefill_attention = cpu::PrefillAttention,
        .page_scores = cpu::PageScores,
        .attention_mass = cpu::AttentionMass,
        .window_scores = cpu::WindowScores,
        .digest_build = cpu::DigestBuild,
        .digest_score = cpu::DigestScore,
        .value_codes_build = cpu::ValueCodesBuild,
        .zone_attention = cpu::ZoneAttention,
    };
  }();
  return table;
}

}  // namespace arkvale
