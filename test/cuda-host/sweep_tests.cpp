// The kernels of the exact sweep's operators (cuda/{perturb_channels,activate,filter_activate,add_to_canvas,
// convolve_to_canvas,clip_input}.cu) on the CPU, over the table of cases: every case must lie within the bounds of the
// reference and, under several seeds, give the same bits each time. Memory is of exactly the case's size, so that
// AddressSanitizer sees what goes beyond it.
#include "sweep_tests.h"

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "activate.h"
#include "add_to_canvas.h"
#include "canvas_params.h"
#include "checks.h"
#include "clip_input.h"
#include "convolve_to_canvas.h"
#include "elements.h"
#include "filter_activate.h"
#include "perturb_channels.h"
#include "sweep_cases.h"
#include "typed_memory.h"

namespace styleclip::checks {
namespace {

using namespace cases::sweep;
using cases::Type;

/// What the operators that add to a canvas take for themselves.
struct CanvasMemory {
  CanvasMemory(const cuda::CanvasScratch& scratch)
      : lines(scratch.lines, 0),
        band_weights(scratch.band_weights, 0),
        band_rows(new std::int32_t[static_cast<std::size_t>(scratch.band_rows)]) {}
  template <typename Params>
  void lend(Params& params) {
    params.lines = lines.data();
    params.band_weights = band_weights.data();
    params.band_rows = band_rows.get();
  }
  Memory<float> lines, band_weights;
  std::unique_ptr<std::int32_t[]> band_rows;
};

template <typename T>
cudaError_t launch(const Case& which, const Inputs& in, std::int64_t offset, Results& results) {
  const auto limit = static_cast<float>(in.limit);
  const bool reads_y = !in.y.empty();
  Memory<T> y = reads_y ? Memory<T>(in.y, offset) : Memory<T>(y_size(which), offset);
  cudaError_t error = cudaSuccess;
  switch (which.op) {
    case Op::kPerturbChannels: {
      cuda::PerturbChannelsParams params{pointer(in.planes),
                                         pointer(in.taps),
                                         pointer(in.linear),
                                         pointer(in.steps),
                                         pointer(in.gains),
                                         pointer(in.bias),
                                         pointer(in.noise),
                                         y.data(),
                                         limit,
                                         which.n,
                                         which.channels,
                                         which.r,
                                         kElement<T>};
      error = cuda::launch_perturb_channels(params, nullptr);
      break;
    }
    case Op::kActivate: {
      cuda::ActivateParams params{y.data(), pointer(in.bias),  pointer(in.noise), limit,
                                  which.n,  which.r * which.r, which.channels,    kElement<T>};
      error = cuda::launch_activate(params, nullptr);
      break;
    }
    case Op::kFilterActivate: {
      Memory<T> t(in.t, offset);
      cuda::FilterActivateParams params{
          t.data(), pointer(in.filter), pointer(in.bias), pointer(in.noise), y.data(), limit, which.n,
          which.r,  which.channels,     kElement<T>};
      error = cuda::launch_filter_activate(params, nullptr);
      break;
    }
    case Op::kAddToCanvas:
    case Op::kActivateToCanvas: {
      CanvasMemory memory(cuda::canvas_scratch(which.n, which.r, canvas_side(which)));
      results.canvas = in.canvas;
      cuda::AddToCanvasParams params = canvas_params(which, in);
      memory.lend(params);
      params.y = y.data();
      params.canvas = results.canvas.data();
      params.pictures = which.n;
      params.element = kElement<T>;
      error = cuda::launch_add_to_canvas(params, nullptr);
      break;
    }
    case Op::kConvolveToCanvas: {
      CanvasMemory memory(cuda::canvas_scratch(which.n, which.r, canvas_side(which)));
      Memory<T> x(in.x, offset), kernel(in.kernel, 0);
      results.canvas = in.canvas;
      cuda::ConvolveToCanvasParams params = convolution_params(which, in);
      memory.lend(params);
      params.x = x.data();
      params.weight = kernel.data();
      params.y = which.keep ? y.data() : nullptr;
      params.canvas = results.canvas.data();
      params.pictures = which.n;
      params.element = kElement<T>;
      error = cuda::launch_convolve_to_canvas(params, nullptr);
      break;
    }
    case Op::kClipInput: {
      cuda::ClipInputParams params{pointer(in.canvas),
                                   pointer(in.mean),
                                   pointer(in.deviation),
                                   y.data(),
                                   which.n,
                                   which.r,
                                   which.patch > 0 ? which.patch : which.r,
                                   kElement<T>};
      error = cuda::launch_clip_input(params, nullptr);
      break;
    }
  }
  results.y = y.values();
  return error;
}

cudaError_t launch(const Case& which, const Inputs& in, std::int64_t offset, Results& results) {
  switch (which.type) {
    case Type::kFloat32: return launch<float>(which, in, offset, results);
    case Type::kFloat16: return launch<__half>(which, in, offset, results);
    case Type::kBFloat16: return launch<__nv_bfloat16>(which, in, offset, results);
  }
  return cudaErrorInvalidValue;
}

void check_case(const Case& which, int seeds) {
  const Inputs inputs = make_inputs(which, 7);
  Results first;
  for (int seed = 1; seed <= seeds; ++seed) {
    cuda_host::options().seed = static_cast<std::uint64_t>(seed);
    const std::string label = name(which).append(", seed ").append(std::to_string(seed)).append(": ");
    Results results;
    check(launch(which, inputs, 0, results) == cudaSuccess, label + "launch");
    const std::string fault = compare(which, inputs, results);
    check(fault.empty(), label + fault);
    if (seed == 1) {
      first = results;
    } else {
      check(same_bits(results.y, first.y) && same_bits(results.canvas, first.canvas), label + "other bits");
    }
  }
  // One element off: what could be moved in vectors no longer can.
  if (which.op == Op::kConvolveToCanvas) {
    Results results;
    const bool refused = launch(which, inputs, 1, results) == cudaErrorInvalidValue;
    check(refused, name(which).append(", unaligned: refused"));
  } else if (which.channels % 4 == 0 && which.r <= 9) {
    Results results;
    check(launch(which, inputs, 1, results) == cudaSuccess, name(which).append(", unaligned: launch"));
    const std::string fault = compare(which, inputs, results);
    check(fault.empty(), name(which).append(", unaligned: ").append(fault));
  }
}

/// A NaN passes as one only where the broken pixel reaches the canvas.
void check_comparison() {
  Case which;
  which.op = Op::kAddToCanvas;
  which.r = 16;
  which.content = Content::kNaN;
  for (const bool resampled : {false, true}) {
    which.resample = resampled ? Resample::kBicubic : Resample::kIdentity;
    which.size = resampled ? 40 : 0;
    const Inputs inputs = make_inputs(which, 7);
    Results results;
    check(launch(which, inputs, 0, results) == cudaSuccess, "a broken pixel: launch");
    check(compare(which, inputs, results).empty(), "a broken pixel: NaN where it reaches");
    float& far = results.canvas[0];
    check(!std::isnan(far), "a broken pixel does not reach the corner");
    far = std::numeric_limits<float>::quiet_NaN();
    check(!compare(which, inputs, results).empty(), "a broken pixel: a NaN elsewhere is a fault");
    check(compare(which, inputs, results, Zeros::kMultiplied).empty() == resampled,
          "a broken pixel: with a matrix, products with all of its zeros may be NaN");
  }
}

/// Null pointers everywhere: a launch would end the test.
void check_refusals() {
  const auto refused = [](cudaError_t error, const char* what) { check(error == cudaErrorInvalidValue, what); };
  constexpr std::int64_t kTooLong = (std::int64_t{1} << 30) + 1, kHuge = std::int64_t{1} << 40;
  cuda::ActivateParams activate;
  activate.pictures = std::int64_t{1} << 33;
  activate.pixels = activate.channels = 1;
  refused(cuda::launch_activate(activate, nullptr), "activate: a grid beyond CUDA's is refused");
  activate.pictures = -1;
  refused(cuda::launch_activate(activate, nullptr), "activate: a negative count is refused");
  activate.pictures = 1;
  activate.pixels = std::int64_t{1} << 30;
  activate.channels = kHuge;
  refused(cuda::launch_activate(activate, nullptr), "activate: indices beyond 64 bits are refused");
  activate.pixels = std::numeric_limits<std::int64_t>::max();
  activate.channels = 1;
  refused(cuda::launch_activate(activate, nullptr), "activate: the largest number of pixels is refused");
  cuda::PerturbChannelsParams perturb;
  perturb.count = std::int64_t{1} << 32;
  perturb.channels = perturb.side = 1;
  refused(cuda::launch_perturb_channels(perturb, nullptr), "perturb_channels: a grid beyond CUDA's is refused");
  perturb.count = 1;
  perturb.side = kTooLong;
  refused(cuda::launch_perturb_channels(perturb, nullptr), "perturb_channels: a side above 2^30 is refused");
  perturb.side = 1 << 20;
  perturb.channels = kHuge;
  refused(cuda::launch_perturb_channels(perturb, nullptr), "perturb_channels: indices beyond 64 bits are refused");
  cuda::FilterActivateParams filter;
  filter.pictures = 1;
  filter.channels = 1;
  filter.side = kTooLong;
  refused(cuda::launch_filter_activate(filter, nullptr), "filter_activate: a side above 2^30 is refused");
  filter.side = 1 << 14;
  filter.channels = kHuge;
  refused(cuda::launch_filter_activate(filter, nullptr), "filter_activate: indices beyond 64 bits are refused");
  filter.pictures = std::int64_t{1} << 32;
  filter.side = filter.channels = 1;
  refused(cuda::launch_filter_activate(filter, nullptr), "filter_activate: a grid beyond CUDA's is refused");
  cuda::AddToCanvasParams canvas;
  canvas.pictures = canvas.side = canvas.channels = 1;
  canvas.size = 2;
  refused(cuda::launch_add_to_canvas(canvas, nullptr), "add_to_canvas: another size without a matrix is refused");
  canvas.size = canvas.side = kTooLong;
  refused(cuda::launch_add_to_canvas(canvas, nullptr), "add_to_canvas: a side above 2^30 is refused");
  canvas.size = canvas.side = 1 << 30;
  refused(cuda::launch_add_to_canvas(canvas, nullptr), "add_to_canvas: indices beyond 64 bits are refused");
  canvas.size = canvas.side = 2;
  canvas.pictures = std::int64_t{1} << 30;
  refused(cuda::launch_add_to_canvas(canvas, nullptr), "add_to_canvas: a grid beyond CUDA's is refused");
  cuda::ConvolveToCanvasParams convolution;
  const auto refused_convolution = [&](const char* what) {
    refused(cuda::launch_convolve_to_canvas(convolution, nullptr), what);
  };
  convolution.pictures = convolution.side = convolution.size = 1;
  for (const std::int64_t channels : {0, 8, 24, 80}) {
    convolution.inputs = channels;
    convolution.outputs = 16;
    refused_convolution("convolve_to_canvas: inputs other than 16, 32, 48 and 64 are refused");
    std::swap(convolution.inputs, convolution.outputs);
    refused_convolution("convolve_to_canvas: outputs other than 16, 32, 48 and 64 are refused");
  }
  convolution.inputs = convolution.outputs = 16;
  convolution.element = cuda::Element::kFloat32;
  refused_convolution("convolve_to_canvas: float32 is refused");
  convolution.element = cuda::Element::kFloat16;
  convolution.size = 2;
  refused_convolution("convolve_to_canvas: another size without a matrix is refused");
  convolution.side = convolution.size = (1 << 15) + 1;
  refused_convolution("convolve_to_canvas: a side above 2^15 is refused");
  convolution.side = convolution.size = 1;
  convolution.pictures = std::int64_t{1} << 31;
  refused_convolution("convolve_to_canvas: a grid beyond CUDA's is refused");
  convolution.pictures = std::int64_t{1} << 60;
  refused_convolution("convolve_to_canvas: indices beyond 64 bits are refused");
  convolution.pictures = 1;
  cuda_host::Options& device = cuda_host::options();
  const auto unsupported = [&](const char* what) {
    check(cuda::launch_convolve_to_canvas(convolution, nullptr) == cudaErrorNotSupported, what);
  };
  device.compute_capability = 7;
  unsupported("convolve_to_canvas: a device without the instructions is told apart");
  device.compute_capability = cuda_host::Options().compute_capability;
  device.shared_bytes = cuda_host::kMaxStaticSharedBytes;
  unsupported("convolve_to_canvas: so is one without the shared memory");
  device.shared_bytes = cuda_host::Options().shared_bytes;
  cuda::ClipInputParams clip;
  clip.pictures = 1;
  clip.size = 10;
  clip.patch = 3;
  refused(cuda::launch_clip_input(clip, nullptr), "clip_input: patches that do not fit are refused");
  clip.patch = 0;
  refused(cuda::launch_clip_input(clip, nullptr), "clip_input: patches of nothing are refused");
  clip.patch = clip.size = kTooLong;
  refused(cuda::launch_clip_input(clip, nullptr), "clip_input: a size above 2^30 is refused");
  clip.patch = clip.size = 1 << 30;
  refused(cuda::launch_clip_input(clip, nullptr), "clip_input: indices beyond 64 bits are refused");
  clip.patch = clip.size = 1;
  clip.pictures = std::int64_t{1} << 30;
  refused(cuda::launch_clip_input(clip, nullptr), "clip_input: a grid beyond CUDA's is refused");
}

}  // namespace

void check_sweep_operators(cases::Table table) {
  for (const Op op : kOps) {
    for (const Case& which : all_cases(op, table)) {
      const bool large = which.n * which.r * which.r * which.channels > 10000;
      check_case(which, table != cases::Table::kAll || large ? 1 : 2);
    }
  }
  check_comparison();
  check_refusals();
}

}  // namespace styleclip::checks
