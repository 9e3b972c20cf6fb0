#include "resize_tests.h"

#include <cstring>
#include <memory>

#include "checks.h"
#include "cuda_host.h"
#include "resize_8bit.h"
#include "resize_cases.h"

namespace styleclip::checks {
namespace {

using cases::resize::Case;
using cases::resize::Inputs;

// Memory of exactly the result's size, so that AddressSanitizer sees what goes beyond it.
std::vector<std::uint8_t> run(const Case& which, const Inputs& in, cudaError_t& error) {
  const auto count = static_cast<std::size_t>(which.outer * which.out * which.inner);
  const std::unique_ptr<std::uint8_t[]> result(new std::uint8_t[count]);
  std::memset(result.get(), 0xa5, count);
  const cuda::Resize8bitParams params{in.pixels.data(), in.first.data(), in.weights.data(), result.get(), which.outer,
                                      which.length,     which.inner,     which.out,         which.taps};
  error = cuda::launch_resize_8bit(params, nullptr);
  return {result.get(), result.get() + count};
}

}  // namespace

void check_resize_8bit_kernel() {
  for (const Case& which : cases::resize::all_cases()) {
    const Inputs in = cases::resize::make_inputs(which);
    for (const std::uint64_t seed : {1u, 2u}) {
      cuda_host::options().seed = seed;
      cudaError_t error = cudaSuccess;
      const std::vector<std::uint8_t> got = run(which, in, error);
      check(error == cudaSuccess, name(which) + ": launch");
      check(got == cases::resize::expected(which, in), name(which) + ": other numbers");
    }
  }
  cuda::Resize8bitParams params;
  const auto refused = [&](const char* what) {
    check(cuda::launch_resize_8bit(params, nullptr) == cudaErrorInvalidValue, what);
  };
  params.outer = params.inner = params.out = params.taps = 1;
  refused("resize_8bit: no length is refused");
  params.length = -1;
  refused("resize_8bit: a negative length is refused");
  params.length = 1;
  params.outer = params.out = std::int64_t{1} << 30;
  refused("resize_8bit: a grid beyond CUDA's is refused");
  params.outer = 1 << 20;
  params.length = std::int64_t{1} << 30;
  params.inner = 1 << 15;
  params.out = 1;
  refused("resize_8bit: pixels beyond 64 bits are refused");
}

}  // namespace styleclip::checks
