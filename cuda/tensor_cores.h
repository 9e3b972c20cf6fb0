// What a warp needs to multiply matrices on tensor cores: copies to shared memory that go on while it computes,
// fragments loaded from there, and the product itself. Three instructions of PTX that targets have from sm_80 on (PTX
// ISA 8.0, "mma.m16n8k16", "ldmatrix", "cp.async"); for an earlier target they compile to a trap, and launchers refuse
// such a device. On the CPU test/cuda-host/tensor_cores_host.h stands in, written from the same document.
//
// A fragment is a matrix dealt to the warp's lanes, two neighbours of 16 bits a register. Of lane l, where g = l / 4 and
// t = l % 4:
//   a [16, 16], rows by k:     a[i] = rows g + 8 (i % 2), k 2 t + 8 (i / 2) and the next
//   b [16, 8], k by columns:   b[i] = column g, k 2 t + 8 i and the next
//   c [16, 8], float32:        c[i] = row g + 8 (i / 2), column 2 t + i % 2
#pragma once

#include "device.h"

namespace styleclip::cuda {

/// The compute capability, first number, from which on a device has these instructions.
inline constexpr int kTensorCoresSince = 8;

/// What is copied and loaded at once: eight neighbours of 16 bits.
struct alignas(16) Unit {
  unsigned pair[4];
};

}  // namespace styleclip::cuda

#ifdef STYLECLIP_CUDA_HOST
#include "tensor_cores_host.h"
#else

namespace styleclip::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define STYLECLIP_TENSOR_CORES(...) __trap()
#else
#define STYLECLIP_TENSOR_CORES(...) __VA_ARGS__
#endif

__device__ __forceinline__ unsigned shared_address(const Unit* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

/// The value, 0 or above, which the compiler takes for a new one: what follows from it is computed here, and not once
/// before a loop to be kept in registers that the sums need.
__device__ __forceinline__ int fresh(int value) {
  asm volatile("" : "+r"(value));
  __builtin_assume(value >= 0);
  return value;
}

/// Begins the copy of a unit from global to shared memory, or of zeros where it is not `inside`; then nothing is read.
__device__ __forceinline__ void begin_copy(Unit* to, const void* from, bool inside) {
  STYLECLIP_TENSOR_CORES(
      asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                   "l"(__cvta_generic_to_global(from)), "r"(inside ? 16 : 0) : "memory"));
}

/// Waits for the copies that this thread has begun. Other threads see them after a barrier.
__device__ __forceinline__ void end_copies() {
  STYLECLIP_TENSOR_CORES(asm volatile("cp.async.wait_all;" :: : "memory"));
}

/// Four matrices of 8 x 8 numbers of 16 bits from shared memory: lane l names row l % 8 of matrix l / 8, and gets of
/// each matrix row l / 4, numbers 2 (l % 4) and the next.
__device__ __forceinline__ void load_matrices(const Unit* row, unsigned& m0, unsigned& m1, unsigned& m2, unsigned& m3) {
  STYLECLIP_TENSOR_CORES(asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(m0),
                                      "=r"(m1), "=r"(m2), "=r"(m3) : "r"(shared_address(row)) : "memory"));
}

#define STYLECLIP_MMA(type)                                                                                       \
  STYLECLIP_TENSOR_CORES(asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                               \
                             ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" : "+f"(c[0]), \
                             "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]),     \
                             "r"(b[0]), "r"(b[1])))

/// c += a b, of T's.
template <typename T>
__device__ __forceinline__ void multiply_add(const unsigned (&a)[4], const unsigned (&b)[2], float (&c)[4]);
template <>
__device__ __forceinline__ void multiply_add<__half>(const unsigned (&a)[4], const unsigned (&b)[2], float (&c)[4]) {
  STYLECLIP_MMA("f16");
}
template <>
__device__ __forceinline__ void multiply_add<__nv_bfloat16>(const unsigned (&a)[4], const unsigned (&b)[2],
                                                            float (&c)[4]) {
  STYLECLIP_MMA("bf16");
}

/// The same of N fragments of b side by side.
template <typename T, int N>
__device__ __forceinline__ void multiply_add(const unsigned (&a)[4], const unsigned (&b)[N][2], float (&c)[N][4]) {
#pragma unroll
  for (int n = 0; n < N; ++n) multiply_add<T>(a, b[n], c[n]);
}

#undef STYLECLIP_MMA
#undef STYLECLIP_TENSOR_CORES

}  // namespace styleclip::cuda

#endif
