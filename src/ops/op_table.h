// OpTable: one function per op and device. The checks and the dispatch of an op are in x.cc; x_cpu.cc fills this table;
// a CUDA plugin will fill another one at load time.
#pragma once

#include <span>

#include "ops/attention_mass.h"
#include "ops/digest.h"
#include "ops/embed.h"
#include "ops/experts.h"
#include "ops/glu.h"
#include "ops/matmul.h"
#include "ops/page_scores.h"
#include "ops/paged_attention.h"
#include "ops/prefill_attention.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/value_codes.h"
#include "ops/window_scores.h"
#include "ops/zone_attention.h"

namespace arkvale {

// Entries get arguments that the public function has checked.
struct OpTable {
  const char* device_name = nullptr;
  Status (*matmul)(const OpContext&, MatmulPath, const MatrixView&, std::span<const MatmulTarget>) = nullptr;
  Status (*embed)(const OpContext&, const WeightView&, std::span<const int32_t>, float, const MatrixView&) = nullptr;
  Status (*rms_norm)(const OpContext&, const MatrixView&, const float*, float, const MatrixView&, bool) = nullptr;
  Status (*rope_angles)(const OpContext&, const RopeParams&, std::span<const int64_t>, const MatrixView&) = nullptr;
  Status (*rope)(const OpContext&, RopeKind, int, int, const MatrixView&, const MatrixView&) = nullptr;
  Status (*glu)(const OpContext&, GluKind, const MatrixView&, const MatrixView&, const MatrixView&) = nullptr;
  Status (*route_experts)(const OpContext&, const MatrixView&, int64_t, std::span<int32_t>, std::span<float>) = nullptr;
  Status (*gather_rows)(const OpContext&, const MatrixView&, std::span<const int64_t>, const MatrixView&) = nullptr;
  Status (*scatter_add_rows)(const OpContext&, const MatrixView&, std::span<const int64_t>, std::span<const float>,
                             const MatrixView&) = nullptr;
  Status (*paged_attention)(const OpContext&, const PagedAttentionArgs&) = nullptr;
  Status (*prefill_attention)(const OpContext&, const PrefillAttentionArgs&) = nullptr;
  Status (*page_scores)(const OpContext&, const PageScoresArgs&) = nullptr;
  Status (*attention_mass)(const OpContext&, const AttentionMassArgs&) = nullptr;
  Status (*window_scores)(const OpContext&, const WindowScoresArgs&) = nullptr;
  Status (*digest_build)(const OpContext&, const DigestBuildArgs&) = nullptr;
  Status (*digest_score)(const OpContext&, const DigestScoreArgs&) = nullptr;
  Status (*value_codes_build)(const OpContext&, const ValueCodeArgs&) = nullptr;
  Status (*zone_attention)(const OpContext&, const ZoneAttentionArgs&) = nullptr;
};

// The CPU's table; initialises ggml's CPU kernels on first use. Never fails, lives for the process.
const OpTable& CpuOps();

}  // namespace arkvale
