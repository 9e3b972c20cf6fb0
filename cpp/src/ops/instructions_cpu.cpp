#include "ops/instructions_cpu.h"

namespace styleclip {

std::vector<Instructions> known_instructions() {
  std::vector<Instructions> known;
#ifdef STYLECLIP_INSTRUCTION_SETS
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    if (__builtin_cpu_supports("avx512bf16")) known.push_back(Instructions::Avx512Bf16);
    known.push_back(Instructions::Avx512);
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) known.push_back(Instructions::Avx2);
#endif
  known.push_back(Instructions::Plain);
  return known;
}

Instructions widest_instructions() {
  static const Instructions widest = known_instructions().front();
  return widest;
}

}  // namespace styleclip
