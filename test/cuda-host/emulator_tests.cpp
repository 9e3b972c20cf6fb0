// The emulator's own test: it must see what it is there for. A kernel that lacks a barrier gives a wrong result under
// some seed (under ThreadSanitizer: a race, see main.cpp), a divergent barrier is reported, and the subset computes as
// CUDA does.
#include "emulator_tests.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "checks.h"
#include "cuda_host.h"
#include "tensor_cores.h"

namespace styleclip::checks {
namespace {

using cuda::Unit;
using cuda_host::Error;

/// out[t] = the value that the next thread wrote.
__global__ void rotate(int* out, bool with_barrier) {
  STYLECLIP_SHARED(int, values, [64]);
  const int t = static_cast<int>(threadIdx.x);
  values[t] = t;
  if (with_barrier) __syncthreads();
  out[t] = values[(t + 1) % 64];
}

bool rotates(bool with_barrier, std::uint64_t seed) {
  cuda_host::options().seed = seed;
  std::vector<int> out(64, -2);
  STYLECLIP_LAUNCH(rotate, 1, 64, nullptr, out.data(), with_barrier);
  for (int t = 0; t < 64; ++t) {
    if (out[static_cast<std::size_t>(t)] != (t + 1) % 64) return false;
  }
  return true;
}

__global__ void some_threads_skip() {
  if (threadIdx.x < 16) __syncthreads();
}

__global__ void two_lines() {
  if (threadIdx.x < 32) {  // NOLINT(bugprone-branch-clone): the lines are what counts
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void warp_and_block() {
  if (threadIdx.x % 32 == 0) {
    __syncwarp();
  } else {
    __syncthreads();
  }
}

__global__ void half_a_warp_shuffles(int* out) {
  const int t = static_cast<int>(threadIdx.x);
  if (t % 2 == 0) out[t] = __shfl_xor_sync(0xffffffffu, t, 2);
}

__global__ void part_of_the_mask(int* out) { *out = __shfl_sync(0xffffu, 1, 0); }

__global__ void all_shuffles(std::vector<std::vector<double>>* out) {
  const int t = static_cast<int>(threadIdx.x);
  const unsigned all = 0xffffffffu;
  const double value = t + 0.5;
  std::vector<double>& mine = (*out)[static_cast<std::size_t>(t)];
  mine = {__shfl_sync(all, value, 3),
          __shfl_xor_sync(all, value, 5),
          __shfl_up_sync(all, value, 2),
          __shfl_down_sync(all, value, 2),
          static_cast<double>(__ballot_sync(all, t % 3 == 0)),
          static_cast<double>(__any_sync(all, t == 40)),
          static_cast<double>(__all_sync(all, t < 32))};
}

__global__ void uninitialised(double* out) {
  STYLECLIP_SHARED(double, values, [32]);
  out[threadIdx.x] = values[threadIdx.x];
}

__global__ void too_much_shared() {
  STYLECLIP_SHARED(double, values, [6145]);  // 8 bytes above 48 KiB
  values[0] = 0;
}

__global__ void places(unsigned* out) {
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}

__global__ void count_threads(int* whole, double* real) {
  atomicAdd(whole, 1);
  atomicAdd(real, 0.5);
}

__global__ void shared_overrun(int* out) {
  STYLECLIP_SHARED(int, values, [32]);
  int* beyond = &values[0] + 32;
  *out = beyond[threadIdx.x];
}

__global__ void dynamic_overrun(int* out) {
  STYLECLIP_DYNAMIC_SHARED(int, values);
  *out = values[threadIdx.x + 1];
}

/// out[t] = the first words of units t and t + 1 of `from`, which a thread copies one by one; of the second zeros come.
__global__ void copies(const Unit* from, bool with_end, std::vector<unsigned>* out) {
  STYLECLIP_DYNAMIC_SHARED(Unit, units);
  const auto t = static_cast<int>(threadIdx.x);
  cuda::begin_copy(units + t, from + t, t != 1);
  if (with_end) cuda::end_copies();
  __syncthreads();
  (*out)[threadIdx.x] = units[(t + 31) % 32].pair[0];
}

/// The matrices' rows lie one after the other in shared memory; out[4 t + m] = what lane t gets of matrix m.
__global__ void loads(std::vector<unsigned>* out) {
  STYLECLIP_DYNAMIC_SHARED(Unit, rows);
  const unsigned t = threadIdx.x;
  rows[t] = {{4 * t, 4 * t + 1, 4 * t + 2, 4 * t + 3}};
  __syncthreads();
  unsigned* to = out->data() + 4 * t;
  cuda::load_matrices(rows + t, to[0], to[1], to[2], to[3]);
}

__global__ void load_between_units(std::vector<unsigned>* out) {
  STYLECLIP_DYNAMIC_SHARED(unsigned, words);
  unsigned* to = out->data() + 4 * threadIdx.x;
  cuda::load_matrices(reinterpret_cast<const Unit*>(words + 1), to[0], to[1], to[2], to[3]);
}

/// c [16, 16] += a [16, 16] b [16, 16], row by row, all dealt as the PTX ISA says of mma.m16n8k16.
template <typename T>
__global__ void product(const std::vector<T>* a, const std::vector<T>* b, std::vector<float>* c) {
  const int group = static_cast<int>(threadIdx.x) / 4, member = static_cast<int>(threadIdx.x) % 4;
  const auto at = [](int row, int column) { return static_cast<std::size_t>(row * 16 + column); };
  T of_a[8], of_b[2][4];
  for (int i = 0; i < 8; ++i) {
    of_a[i] = (*a)[at(i % 4 < 2 ? group : group + 8, member * 2 + i % 2 + (i < 4 ? 0 : 8))];
  }
  for (int i = 0; i < 8; ++i)
    of_b[i / 4][i % 4] = (*b)[at(member * 2 + i % 2 + (i % 4 < 2 ? 0 : 8), group + i / 4 * 8)];
  unsigned registers_of_a[4], registers_of_b[2][2];
  std::memcpy(registers_of_a, of_a, sizeof of_a);
  std::memcpy(registers_of_b, of_b, sizeof of_b);
  float sums[2][4];
  const auto place = [&](int i) { return at(i % 4 < 2 ? group : group + 8, member * 2 + i % 2 + i / 4 * 8); };
  for (int i = 0; i < 8; ++i) sums[i / 4][i % 4] = (*c)[place(i)];
  cuda::multiply_add<T>(registers_of_a, registers_of_b, sums);
  for (int i = 0; i < 8; ++i) (*c)[place(i)] = sums[i / 4][i % 4];
}

void check_barriers() {
  bool always = true;
  bool ever_wrong = false;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    always = always && rotates(true, seed);
#if !defined(__SANITIZE_THREAD__)
    ever_wrong = ever_wrong || !rotates(false, seed);
#endif
  }
  check(always, "a barrier makes every thread see its neighbour's value");
#if !defined(__SANITIZE_THREAD__)
  check(ever_wrong, "without the barrier some seed gives a wrong value");
#else
  static_cast<void>(ever_wrong);
#endif
  check_throws<Error>([] { STYLECLIP_LAUNCH(some_threads_skip, 1, 64, nullptr); }, "has finished",
                      "a barrier that some threads skip");
  check_throws<Error>([] { STYLECLIP_LAUNCH(two_lines, 1, 64, nullptr); }, "divergent", "one barrier on two lines");
  check_throws<Error>([] { STYLECLIP_LAUNCH(warp_and_block, 1, 64, nullptr); }, "__syncwarp",
                      "a warp's barrier against the block's");
  std::vector<int> out(32);
  check_throws<Error>([&] { STYLECLIP_LAUNCH(half_a_warp_shuffles, 1, 32, nullptr, out.data()); }, "__shfl_xor_sync",
                      "a shuffle that half of the warp skips");
  check_throws<Error>([&] { STYLECLIP_LAUNCH(part_of_the_mask, 1, 32, nullptr, out.data()); }, "masks",
                      "a part of a mask");
  check(rotates(true, 1), "a launch after one that failed");
}

void check_exchange() {
  std::vector<std::vector<double>> out(64);
  STYLECLIP_LAUNCH(all_shuffles, 1, 64, nullptr, &out);
  bool right = true;
  for (int t = 0; t < 64; ++t) {
    const int warp = t / 32 * 32;
    const int lane = t % 32;
    double ballot = 0;
    for (int other = 0; other < 32; ++other) ballot += (warp + other) % 3 == 0 ? std::ldexp(1.0, other) : 0;
    const std::vector<double> wanted = {
        warp + 3.5, warp + (lane ^ 5) + 0.5, (lane >= 2 ? t - 2 : t) + 0.5, (lane < 30 ? t + 2 : t) + 0.5,
        ballot,     warp == 32 ? 1.0 : 0.0,  warp == 0 ? 1.0 : 0.0};
    right = right && out[static_cast<std::size_t>(t)] == wanted;
  }
  check(right, "shuffles and votes give what CUDA's do");

  int whole = 0;
  double real = 0;
  STYLECLIP_LAUNCH(count_threads, 3, 96, nullptr, &whole, &real);
  check(whole == 288 && real == 144, "atomicAdd counts every thread");
}

void check_memory_and_grid() {
  std::vector<double> out(32, 0.0);
  STYLECLIP_LAUNCH(uninitialised, 1, 32, nullptr, out.data());
  check(std::isnan(out[0]) && std::isnan(out[31]), "shared memory starts as NaN");
  check_throws<Error>([] { STYLECLIP_LAUNCH(too_much_shared, 1, 32, nullptr); }, "48 KiB", "too much shared memory");

  std::vector<unsigned> seen(24 * 64);
  STYLECLIP_LAUNCH(places, dim3(2, 3, 4), dim3(8, 4, 2), nullptr, seen.data());
  bool right = true;
  for (unsigned i = 0; i < seen.size(); ++i) right = right && seen[i] == i / 64 * 1000 + i % 64;
  check(right, "every thread of a grid knows its place");

  STYLECLIP_LAUNCH(places, 1, 2048, nullptr, seen.data());
  check(cudaGetLastError() == cudaErrorInvalidConfiguration, "a block of 2048 threads is refused");
  check(cudaGetLastError() == cudaSuccess, "the last error is told once");
  check_throws<Error>([&] { STYLECLIP_LAUNCH(places, 1, 33, nullptr, seen.data()); }, "part of a warp", "33 threads");
}

void check_dynamic_memory() {
  std::vector<unsigned> out(128);
  const auto load = [&](std::size_t bytes) { STYLECLIP_LAUNCH_SHARED(loads, 1, 32, bytes, nullptr, &out); };
  load(48 * 1024 + 16);
  check(cudaGetLastError() == cudaErrorInvalidValue, "more than 48 KiB of dynamic shared memory without opt-in");
  const int most = static_cast<int>(cuda_host::options().shared_bytes);
  const auto opt_in = [](int bytes) {
    return cudaFuncSetAttribute(&loads, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  };
  check(opt_in(most + 1) == cudaErrorInvalidValue, "more shared memory than the device has");
  check(opt_in(most) == cudaSuccess, "as much shared memory as the device has");
  load(static_cast<std::size_t>(most));
  check(cudaGetLastError() == cudaSuccess, "a launch with it");
}

void check_tensor_cores() {
  std::vector<unsigned> out(128);
  STYLECLIP_LAUNCH_SHARED(loads, 1, 32, 512, nullptr, &out);
  bool right = true;
  for (unsigned t = 0; t < 32; ++t) {
    for (unsigned matrix = 0; matrix < 4; ++matrix) {
      right = right && out[4 * t + matrix] == 4 * (8 * matrix + t / 4) + t % 4;
    }
  }
  check(right, "a lane gets its two numbers of each matrix");
  check_throws<Error>([&] { STYLECLIP_LAUNCH_SHARED(load_between_units, 1, 32, 512, nullptr, &out); }, "16 bytes",
                      "a row that is not aligned");

  const std::vector<Unit> units(32, Unit{{7, 7, 7, 7}});
  STYLECLIP_LAUNCH_SHARED(copies, 1, 32, 512, nullptr, units.data(), true, &out);
  right = true;
  for (unsigned t = 0; t < 32; ++t) right = right && out[t] == (t == 2 ? 0 : 7);
  check(right, "copies that were waited for are there after a barrier, zeros for one outside");
  STYLECLIP_LAUNCH_SHARED(copies, 1, 32, 512, nullptr, units.data(), false, &out);
  check(out[0] == 0xffffffffu, "a copy that nobody waited for is not there");

  const auto multiplies = [](auto narrow) {
    using T = decltype(narrow(0.0f));
    std::vector<T> a, b;
    std::vector<float> c, wanted;
    for (int i = 0; i < 256; ++i) {
      a.push_back(narrow(static_cast<float>(i * 7 % 31 - 15)));
      b.push_back(narrow(static_cast<float>(i * 5 % 23 - 11)));
      c.push_back(static_cast<float>(i));
      int sum = i;
      for (int k = 0; k < 16; ++k) sum += ((i / 16 * 16 + k) * 7 % 31 - 15) * ((k * 16 + i % 16) * 5 % 23 - 11);
      wanted.push_back(static_cast<float>(sum));
    }
    STYLECLIP_LAUNCH(product<T>, 1, 32, nullptr, &a, &b, &c);
    return c == wanted;
  };
  check(multiplies(__float2half), "a product of float16 matrices");
  check(multiplies(__float2bfloat16), "a product of bfloat16 matrices");
}

/// float16 and bfloat16 against the definition: sign, exponent and fraction as numbers.
double half_value(std::uint32_t bits, int exponent_bits, int fraction_bits) {
  const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const double fraction = std::ldexp(static_cast<double>(bits & ((1u << fraction_bits) - 1)), -fraction_bits);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = bits & 0x8000u ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  return sign * (exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias));
}

void check_half_types() {
  bool widened = true, narrowed = true, rounded = true;
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const auto storage = static_cast<std::uint16_t>(bits);
    const float half = __half2float({storage});
    const float brain = __bfloat162float({storage});
    const double half_wanted = half_value(bits, 5, 10);
    const double brain_wanted = half_value(bits, 8, 7);
    widened = widened && (std::isnan(half_wanted) ? std::isnan(half) : half == half_wanted) &&
              (std::isnan(brain_wanted) ? std::isnan(brain) : brain == brain_wanted);
    narrowed = narrowed &&
               (std::isnan(half) ? std::isnan(__half2float(__float2half(half))) : __float2half(half).bits == storage);
    narrowed = narrowed && (std::isnan(brain) ? std::isnan(__bfloat162float(__float2bfloat16(brain)))
                                              : __float2bfloat16(brain).bits == storage);
    // Half-way to the next value goes to the even one; a float above it goes up.
    if ((bits & 0x7fffu) < 0x7bffu) {
      const float middle = (half + __half2float({static_cast<std::uint16_t>(bits + 1)})) / 2;
      const float above = std::nextafterf(middle, std::copysign(INFINITY, half));
      rounded = rounded && __float2half(middle).bits == bits + (bits & 1) && __float2half(above).bits == bits + 1;
    }
  }
  check(widened, "every float16 and bfloat16 widens to its value");
  check(narrowed, "every float16 and bfloat16 survives float");
  check(rounded, "float16 rounds to nearest even");
}

}  // namespace

void check_emulator() {
  check_barriers();
  check_exchange();
  check_memory_and_grid();
  check_dynamic_memory();
  check_tensor_cores();
  check_half_types();
}

void run_faulty_kernel(const std::string& which) {
  std::vector<int> out(64);
  if (which == "race") rotates(false, 1);
  if (which == "overrun") STYLECLIP_LAUNCH(shared_overrun, 1, 32, nullptr, out.data());
  if (which == "dynamic-overrun") STYLECLIP_LAUNCH_SHARED(dynamic_overrun, 1, 32, 128, nullptr, out.data());
}

}  // namespace styleclip::checks
