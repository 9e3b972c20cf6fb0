// The kernel of cuda/accumulate_directions.cu on the CPU, over the table of cases: every case under several seeds must
// lie within the bounds of the reference and give the same bits each time.
#include "accumulate_directions_tests.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "accumulate_directions.h"
#include "accumulate_directions_cases.h"
#include "checks.h"

namespace styleclip::checks {
namespace {

using cases::Case;
using cases::Inputs;
using cases::Results;
using cases::Type;

template <typename T>
T from_float(float x);
template <>
float from_float(float x) {
  return x;
}
template <>
__half from_float(float x) {
  return __float2half(x);
}
template <>
__nv_bfloat16 from_float(float x) {
  return __float2bfloat16(x);
}

template <typename T>
constexpr cuda::Element kElement = std::is_same_v<T, float>    ? cuda::Element::kFloat32
                                   : std::is_same_v<T, __half> ? cuda::Element::kFloat16
                                                               : cuda::Element::kBFloat16;

/// Memory of exactly the case's size, so that AddressSanitizer sees a read beyond it; NaN where no row lies.
template <typename T>
std::unique_ptr<T[]> lay_out(const Case& which, const std::vector<float>& rows, bool minus) {
  const cases::Strides strides = cases::strides(which, minus);
  std::unique_ptr<T[]> memory(new T[static_cast<std::size_t>(strides.elements)]);
  std::fill_n(memory.get(), strides.elements, from_float<T>(std::numeric_limits<float>::quiet_NaN()));
  for (std::int64_t channel = 0; channel < which.channels; ++channel) {
    for (std::int64_t image = 0; image < which.images; ++image) {
      const float* row = rows.data() + (channel * which.images + image) * which.dim;
      T* target = memory.get() + strides.offset + channel * strides.channel + image * strides.image;
      std::transform(row, row + which.dim, target, from_float<T>);
    }
  }
  return memory;
}

constexpr std::int64_t kSumPadding = 2;  // elements after each channel's sums, which must stay as they are
constexpr double kUntouched = 123.25;

template <typename T>
Results run(const Case& which, const Inputs& inputs) {
  const auto plus = lay_out<T>(which, inputs.plus, false);
  const auto minus = lay_out<T>(which, inputs.minus, true);
  const cases::Strides plus_strides = cases::strides(which, false);
  const cases::Strides minus_strides = cases::strides(which, true);
  const std::int64_t sum_stride = which.dim + kSumPadding;
  std::vector<double> sum(static_cast<std::size_t>(which.channels * sum_stride), kUntouched);
  for (std::int64_t channel = 0; channel < which.channels; ++channel) {
    std::copy_n(inputs.sum.begin() + channel * which.dim, which.dim, sum.begin() + channel * sum_stride);
  }
  Results results{{}, inputs.magnitude, inputs.count};

  cuda::AccumulateDirectionsParams params;
  params.plus = plus.get() + plus_strides.offset;
  params.minus = minus.get() + minus_strides.offset;
  params.sum = sum.data();
  params.magnitude = results.magnitude.data();
  params.count = results.count.data();
  params.channels = which.channels;
  params.images = which.images;
  params.dim = which.dim;
  params.plus_channel_stride = plus_strides.channel;
  params.plus_image_stride = plus_strides.image;
  params.minus_channel_stride = minus_strides.channel;
  params.minus_image_stride = minus_strides.image;
  params.sum_channel_stride = sum_stride;
  params.element = kElement<T>;
  check(cuda::launch_accumulate_directions(params, nullptr) == cudaSuccess, name(which) + ": launch");

  for (std::int64_t channel = 0; channel < which.channels; ++channel) {
    const auto row = sum.begin() + channel * sum_stride;
    results.sum.insert(results.sum.end(), row, row + which.dim);
    check(std::all_of(row + which.dim, row + sum_stride, [](double x) { return x == kUntouched; }),
          name(which) + ": wrote beyond its sums");
  }
  return results;
}

Results run(const Case& which, const Inputs& inputs) {
  switch (which.type) {
    case Type::kFloat32: return run<float>(which, inputs);
    case Type::kFloat16: return run<__half>(which, inputs);
    case Type::kBFloat16: return run<__nv_bfloat16>(which, inputs);
  }
  return {};
}

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}

void check_case(const Case& which, int seeds) {
  const Inputs inputs = cases::make_inputs(which, 7);
  Results first;
  for (int seed = 1; seed <= seeds; ++seed) {
    cuda_host::options().seed = static_cast<std::uint64_t>(seed);
    const std::string label = name(which).append(", seed ").append(std::to_string(seed));
    const Results results = run(which, inputs);
    const std::string fault = cases::compare(which, inputs, results, 0x1p-53);
    check(fault.empty(), std::string(label).append(": ").append(fault));
    if (seed == 1) {
      first = results;
    } else {
      check(same_bits(results.sum, first.sum) && same_bits(results.magnitude, first.magnitude),
            std::string(label).append(": other bits"));
    }
  }
}

/// Rows that lie further apart than 2^31 elements, in memory that is reserved and hardly used.
void check_far_rows() {
  constexpr std::int64_t kFar = (std::int64_t{1} << 31) + 128;
  const Case which{2, 2, 128, Type::kFloat16};
  const std::size_t bytes = static_cast<std::size_t>(kFar * 3 + which.dim) * sizeof(__half);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  check(memory != MAP_FAILED, "reserve memory for far rows");
  if (memory == MAP_FAILED) return;
  auto* rows = static_cast<__half*>(memory);
  const Inputs inputs = cases::make_inputs(which, 9);
  std::vector<__half> minus(inputs.minus.size());
  std::transform(inputs.minus.begin(), inputs.minus.end(), minus.begin(), from_float<__half>);
  for (std::int64_t row = 0; row < 4; ++row) {
    std::transform(inputs.plus.begin() + row * which.dim, inputs.plus.begin() + (row + 1) * which.dim,
                   rows + row * kFar, from_float<__half>);
  }
  Results results{inputs.sum, inputs.magnitude, inputs.count};
  cuda::AccumulateDirectionsParams params;
  params.plus = rows;
  params.minus = minus.data();
  params.sum = results.sum.data();
  params.magnitude = results.magnitude.data();
  params.count = results.count.data();
  params.channels = 2;
  params.images = 2;
  params.dim = which.dim;
  params.plus_channel_stride = 2 * kFar;
  params.plus_image_stride = kFar;
  params.minus_channel_stride = 2 * which.dim;
  params.minus_image_stride = which.dim;
  params.sum_channel_stride = which.dim;
  params.element = cuda::Element::kFloat16;
  check(cuda::launch_accumulate_directions(params, nullptr) == cudaSuccess, "far rows: launch");
  const std::string fault = cases::compare(which, inputs, results, 0x1p-53);
  check(fault.empty(), "rows 2^31 elements apart: " + fault);
  munmap(memory, bytes);
}

void check_refusals() {
  cuda::AccumulateDirectionsParams params;
  params.channels = 1;
  params.images = 1;
  const auto refused = [](cuda::AccumulateDirectionsParams changed) {
    return cuda::launch_accumulate_directions(changed, nullptr) == cudaErrorInvalidValue;
  };
  params.dim = 0;
  check(refused(params), "dim 0 is refused");
  params.dim = cuda::kMaxEmbeddingDim + 1;
  check(refused(params), "a dim above the largest is refused");
  params.dim = 64;
  params.images = -1;
  check(refused(params), "a negative image count is refused");
  params.images = 1;
  params.channels = std::int64_t{1} << 31;
  check(refused(params), "2^31 channels are refused");
  params.channels = params.images = 1 << 30;
  check(refused(params), "indices beyond 64 bits are refused");
  params.channels = 0;
  check(cuda::launch_accumulate_directions(params, nullptr) == cudaSuccess, "no channels: nothing to do");
}

}  // namespace

void check_accumulate_directions(cases::Table table) {
  for (const Case& which : cases::all_cases(table)) {
    const bool large = which.channels * which.images * which.dim > 10000;
    // Where the memory is read and written does not hang on the order of threads.
    check_case(which, table != cases::Table::kAll ? 1 : large ? 2 : 4);
  }
  check_refusals();
  if (table != cases::Table::kThreads) check_far_rows();
}

}  // namespace styleclip::checks
