// Loops that are written for one width of registers, once for each instruction set: the file that STYLECLIP_LOOPS names is
// included in the namespaces avx512_bf16, avx512, avx2 and plain, with
//   STYLECLIP_LANES    floats of a register
//   STYLECLIP_TARGET   the attribute that lets a function use the instruction set, or nothing
//   STYLECLIP_ROUNDS_BF16   where it has an instruction that rounds to bfloat16
//   STYLECLIP_LANE_INLINE   STYLECLIP_TARGET, and inlined always
// Include it inside a namespace of the loops' own, after instructions_cpu.h and numbers_cpu.h.
#define STYLECLIP_LANE_INLINE STYLECLIP_TARGET STYLECLIP_INLINE

#ifdef STYLECLIP_INSTRUCTION_SETS
namespace avx512_bf16 {
#define STYLECLIP_LANES 16
#define STYLECLIP_ROUNDS_BF16
#define STYLECLIP_TARGET STYLECLIP_AVX512_BF16
#include STYLECLIP_LOOPS
#undef STYLECLIP_LANES
#undef STYLECLIP_ROUNDS_BF16
#undef STYLECLIP_TARGET
}  // namespace avx512_bf16
namespace avx512 {
#define STYLECLIP_LANES 16
#define STYLECLIP_TARGET STYLECLIP_AVX512
#include STYLECLIP_LOOPS
#undef STYLECLIP_LANES
#undef STYLECLIP_TARGET
}  // namespace avx512
namespace avx2 {
#define STYLECLIP_LANES 8
#define STYLECLIP_TARGET STYLECLIP_AVX2
#include STYLECLIP_LOOPS
#undef STYLECLIP_LANES
#undef STYLECLIP_TARGET
}  // namespace avx2
#endif
namespace plain {
#define STYLECLIP_LANES 4
#define STYLECLIP_TARGET
#include STYLECLIP_LOOPS
#undef STYLECLIP_LANES
#undef STYLECLIP_TARGET
}  // namespace plain

#undef STYLECLIP_LANE_INLINE
#undef STYLECLIP_LOOPS
