// What cuda_host.h leaves out must not compile: a kernel that uses it then gets a decision instead of a wrong
// emulation. Compiled once for each value of UNSUPPORTED, where the compiler has to fail, and once for 0, where it must
// not.
#include "cuda_host.h"

__global__ void kernel(float* out, __half half) {
#if UNSUPPORTED == 1
  __shared__ float values[32];
  out[0] = values[0];
#elif UNSUPPORTED == 2
  out[0] = __half2float(half + half);
#elif UNSUPPORTED == 3
  out[0] = static_cast<float>(__syncthreads_count(1));
#elif UNSUPPORTED == 4
  struct Pair {
    float a, b;
  };
  out[0] = __shfl_sync(0xffffffffu, Pair{1, 2}, 0).a;
#elif UNSUPPORTED == 5
  atomicAdd(&half, half);
#else
  out[0] = __half2float(half);
#endif
}
