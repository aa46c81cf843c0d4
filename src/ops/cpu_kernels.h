// Declarations of the CPU twins, defined one op per x_cpu.cc. Only op_table.cc includes this.
#pragma once

#include "ops/op_table.h"

namespace arkvale::cpu {

Status Matmul(const OpContext&, MatmulPath, const MatrixView&, std::span<const MatmulTarget>);
Status Embed(const OpContext&, const WeightView&, std::span<const int32_t>, float, const MatrixView&);
Status RmsNorm(const OpContext&, const MatrixView&, const float*, float, const MatrixView&, bool);
Status RopeAngles(const OpContext&, const RopeParams&, std::span<const int64_t>, const MatrixView&);
Status Rope(const OpContext&, RopeKind, int, int, const MatrixView&, const MatrixView&);
Status Glu(const OpContext&, GluKind, const MatrixView&, const MatrixView&, const MatrixView&);
Status RouteExperts(const OpContext&, const MatrixView&, int64_t, std::span<int32_t>, std::span<float>);
Status GatherRows(const OpContext&, const MatrixView&, std::span<const int64_t>, const MatrixView&);
Status ScatterAddRows(const OpContext&, const MatrixView&, std::span<const int64_t>, std::span<const float>,
                      const MatrixView&);
Status PagedAttention(const OpContext&, const PagedAttentionArgs&);
Status PrefillAttention(const OpContext&, const PrefillAttentionArgs&);
Status PageScores(const OpContext&, const PageScoresArgs&);
Status AttentionMass(const OpContext&, const AttentionMassArgs&);
Status WindowScores(const OpContext&, const WindowScoresArgs&);
Status DigestBuild(const OpContext&, const DigestBuildArgs&);
Status DigestScore(const OpContext&, const DigestScoreArgs&);
Status ValueCodesBuild(const OpContext&, const ValueCodeArgs&);
Status ZoneAttention(const OpContext&, const ZoneAttentionArgs&);

}  // namespace arkvale::cpu
