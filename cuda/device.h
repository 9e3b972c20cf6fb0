// What a kernel source includes in place of CUDA's own headers, so that the same text compiles twice: by nvcc for the
// device, and by the host's compiler for the tests (test/cuda-host), where a block's threads run on the CPU. Shared
// memory and launches go through macros, because their CUDA spelling is not C++:
//
//     STYLECLIP_SHARED(double, tile, [8][32]);                             // __shared__ double tile[8][32];
//     STYLECLIP_LAUNCH(kernel<float>, blocks, threads, stream, params);    // kernel<float><<<blocks, threads, 0, ...
//
//     STYLECLIP_DYNAMIC_SHARED(double, tiles);                             // extern __shared__ double tiles[];
//     STYLECLIP_LAUNCH_SHARED(kernel, blocks, threads, bytes, stream, params);
#pragma once

#ifdef STYLECLIP_CUDA_HOST
#include "cuda_host.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define STYLECLIP_SHARED(type, name, ...) __shared__ type name __VA_ARGS__
#define STYLECLIP_DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#define STYLECLIP_LAUNCH_SHARED(kernel, blocks, threads, bytes, stream, ...) \
  kernel<<<blocks, threads, bytes, stream>>>(__VA_ARGS__)
#define STYLECLIP_LAUNCH(kernel, blocks, threads, stream, ...) \
  STYLECLIP_LAUNCH_SHARED(kernel, blocks, threads, 0, stream, __VA_ARGS__)
#endif
