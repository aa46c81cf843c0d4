#include "ops/cpu_check.h"

#include <ggml-cpu.h>

#include <array>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace arkvale {

#if defined(__x86_64__)
namespace {

enum Register : uint8_t { kEax, kEbx, kEcx, kEdx };

bool CpuidBit(unsigned leaf, unsigned subleaf, Register reg, int bit) {
  unsigned r[4] = {};
  if (__get_cpuid_count(leaf, subleaf, &r[kEax], &r[kEbx], &r[kEcx], &r[kEdx]) == 0) return false;
  return (r[reg] >> bit & 1) != 0;
}

}  // namespace

std::span<const CpuFeature> CpuFeatures() {
  static const auto features = [] {
    __builtin_cpu_init();
    // These three also tell whether the system saves the registers.
    const bool avx = __builtin_cpu_supports("avx") != 0;
    const bool avx2 = __builtin_cpu_supports("avx2") != 0;
    const bool avx512 = __builtin_cpu_supports("avx512f") != 0;
    return std::to_array<CpuFeature>({
        {"sse3", ggml_cpu_has_sse3() != 0, __builtin_cpu_supports("sse3") != 0},
        {"ssse3", ggml_cpu_has_ssse3() != 0, __builtin_cpu_supports("ssse3") != 0},
        {"avx", ggml_cpu_has_avx() != 0, avx},
        {"f16c", ggml_cpu_has_f16c() != 0, avx && CpuidBit(1, 0, kEcx, 29)},
        {"fma", ggml_cpu_has_fma() != 0, avx && CpuidBit(1, 0, kEcx, 12)},
        {"bmi2", ggml_cpu_has_bmi2() != 0, CpuidBit(7, 0, kEbx, 8)},
        {"avx2", ggml_cpu_has_avx2() != 0, avx2},
        {"avx_vnni", ggml_cpu_has_avx_vnni() != 0, avx2 && CpuidBit(7, 1, kEax, 4)},
        {"avx512f", ggml_cpu_has_avx512() != 0, avx512},
        {"avx512_vbmi", ggml_cpu_has_avx512_vbmi() != 0, avx512 && CpuidBit(7, 0, kEcx, 1)},
        {"avx512_vnni", ggml_cpu_has_avx512_vnni() != 0, avx512 && CpuidBit(7, 0, kEcx, 11)},
        {"avx512_bf16", ggml_cpu_has_avx512_bf16() != 0, avx512 && CpuidBit(7, 1, kEax, 5)},
        {"amx_int8", ggml_cpu_has_amx_int8() != 0, CpuidBit(7, 0, kEdx, 25)},
    });
  }();
  return features;
}
#else
std::span<const CpuFeature> CpuFeatures() { return {}; }
#endif

Status CheckCpuFeatures(std::span<const CpuFeature> features) {
  std::string missing;
  for (const CpuFeature& feature : features) {
    if (!feature.compiled || feature.available) continue;
    missing += missing.empty() ? "" : ", ";
    missing += feature.name;
  }
  if (missing.empty()) return OkStatus();
  return InvalidArgument("this program was built for a CPU with " + missing +
                         ", which this machine lacks: build it on this machine (make)");
}

// Targets below AVX2 are left out of the build: ops/simd.h.
bool KernelsAreScalar() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") == 0;
#else
  return false;
#endif
}

}  // namespace arkvale
