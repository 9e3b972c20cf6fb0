// Which registers the loops that are written for one width of them use. Such loops stand in a header of their own, which
// each_instruction_set.h includes once for each.
#pragma once

#include <vector>

// Elsewhere, and under sanitizers, the plain ones only.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define STYLECLIP_INSTRUCTION_SETS
#define STYLECLIP_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")))
#define STYLECLIP_AVX512_BF16 \
  __attribute__((target("avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")))
#define STYLECLIP_AVX2 __attribute__((target("avx2,fma")))
#endif

namespace styleclip {

/// Avx512Bf16: AVX-512 that rounds to bfloat16 by itself; loops without bfloat16 have no version of their own for it.
enum class Instructions { Avx512Bf16, Avx512, Avx2, Plain };

/// Those that this processor has, widest first, which is what is taken.
std::vector<Instructions> known_instructions();
Instructions widest_instructions();

}  // namespace styleclip
