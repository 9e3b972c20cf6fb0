// The exact sweep's kernels where an index is beyond 32 bits. There are so many pictures that the last one's elements
// lie past 2^31, in memory that is reserved and hardly used; only the last one's blocks run. It must come out with
// the bits that it has alone, which are within the table's bounds, and the first one's memory must stay as it was.
#include "far_tests.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "activate.h"
#include "add_to_canvas.h"
#include "canvas_params.h"
#include "checks.h"
#include "convolve_to_canvas.h"
#include "cuda_host.h"
#include "elements.h"
#include "filter_activate.h"
#include "perturb_channels.h"
#include "sweep_cases.h"
#include "typed_memory.h"

namespace styleclip::checks {
namespace {

using namespace cases::sweep;
using cases::Type;

constexpr std::int64_t kFar = std::int64_t{1} << 31;

/// Zeros that take no room until they are written.
template <typename T>
class Reserved {
 public:
  explicit Reserved(std::int64_t count)
      : bytes_(std::max<std::size_t>(1, static_cast<std::size_t>(count) * sizeof(T))),
        memory_(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (memory_ == MAP_FAILED) throw cuda_host::Error("no address space for far elements");
  }
  ~Reserved() { munmap(memory_, bytes_); }
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;
  T* data() { return static_cast<T*>(memory_); }
  /// Writes the values as part number `part`, where all parts are of their length.
  void place(std::int64_t part, const std::vector<float>& values) {
    T* to = data() + part * static_cast<std::int64_t>(values.size());
    if constexpr (std::is_same_v<T, float>) {
      std::copy(values.begin(), values.end(), to);
    } else {
      std::transform(values.begin(), values.end(), to, cuda::from_float<T>);
    }
  }
  std::vector<float> part(std::int64_t number, std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    const T* from = data() + number * count;
    if constexpr (std::is_same_v<T, float>) {
      std::copy(from, from + count, values.begin());
    } else {
      std::transform(from, from + count, values.begin(), [](T x) { return cuda::to_float(x); });
    }
    return values;
  }

 private:
  std::size_t bytes_;
  void* memory_;
};

bool zeros(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return x == 0; });
}

std::int64_t size(const std::vector<float>& values) { return static_cast<std::int64_t>(values.size()); }

/// The canvases of many pictures, of which the last has what `in` has, and the scratch memory of those who add to them.
class FarCanvas {
 public:
  FarCanvas(const Case& which, const Inputs& in, std::int64_t pictures)
      : last_(pictures - 1),
        of_picture_(size(in.canvas)),
        scratch_(cuda::canvas_scratch(pictures, which.r, canvas_side(which))) {
    canvas_.place(last_, in.canvas);
  }
  template <typename Params>
  void lend(Params& params) {
    params.canvas = canvas_.data();
    params.lines = lines_.data();
    params.band_weights = band_weights_.data();
    params.band_rows = band_rows_.data();
  }
  std::vector<float> last() { return canvas_.part(last_, of_picture_); }
  /// No other picture's was written, as far as the first one tells.
  bool alone() { return last_ == 0 || zeros(canvas_.part(0, of_picture_)); }

 private:
  std::int64_t last_, of_picture_;
  cuda::CanvasScratch scratch_;
  Reserved<float> canvas_{(last_ + 1) * of_picture_}, lines_{scratch_.lines}, band_weights_{scratch_.band_weights};
  Reserved<std::int32_t> band_rows_{scratch_.band_rows};
};

/// What `in`, of one picture (a channel of perturb_channels), becomes as the last of `pictures`.
Results run(const Case& which, const Inputs& in, std::int64_t pictures) {
  using T = __half;
  const auto limit = static_cast<float>(in.limit);
  const std::int64_t last = pictures - 1, of_y = which.channels * which.r * which.r;
  const bool perturbs = which.op == Op::kPerturbChannels;
  Reserved<T> y((perturbs ? 2 : 1) * pictures * of_y);
  if (!in.y.empty()) y.place(last, in.y);
  Results results;
  cudaError_t error = cudaSuccess;
  cuda_host::options().parts = static_cast<std::uint64_t>(pictures);
  switch (which.op) {
    case Op::kPerturbChannels: {
      Reserved<float> planes(pictures * size(in.planes)), taps(pictures * size(in.taps)), steps(2 * pictures),
          gains(2 * pictures * which.channels);
      planes.place(last, in.planes);
      taps.place(last, in.taps);
      for (const std::int64_t sign : {0, 1}) {
        const auto own = in.gains.begin() + sign * which.channels;
        steps.place(sign * pictures + last, {in.steps[static_cast<std::size_t>(sign)]});
        gains.place(sign * pictures + last, {own, own + which.channels});
      }
      cuda::PerturbChannelsParams params{planes.data(),
                                         taps.data(),
                                         pointer(in.linear),
                                         steps.data(),
                                         gains.data(),
                                         pointer(in.bias),
                                         pointer(in.noise),
                                         y.data(),
                                         limit,
                                         pictures,
                                         which.channels,
                                         which.r,
                                         cuda::Element::kFloat16};
      error = cuda::launch_perturb_channels(params, nullptr);
      break;
    }
    case Op::kActivate: {
      cuda::ActivateParams params{y.data(), pointer(in.bias),  pointer(in.noise), limit,
                                  pictures, which.r * which.r, which.channels,    cuda::Element::kFloat16};
      error = cuda::launch_activate(params, nullptr);
      break;
    }
    case Op::kFilterActivate: {
      Reserved<T> t(pictures * size(in.t));
      t.place(last, in.t);
      cuda::FilterActivateParams params{
          t.data(), pointer(in.filter), pointer(in.bias), pointer(in.noise), y.data(),
          limit,    pictures,           which.r,          which.channels,    cuda::Element::kFloat16};
      error = cuda::launch_filter_activate(params, nullptr);
      break;
    }
    case Op::kConvolveToCanvas: {
      Reserved<T> x(pictures * size(in.x)), kernel(size(in.kernel));
      FarCanvas canvas(which, in, pictures);
      x.place(last, in.x);
      kernel.place(0, in.kernel);
      cuda::ConvolveToCanvasParams params = convolution_params(which, in);
      canvas.lend(params);
      params.x = x.data();
      params.weight = kernel.data();
      params.y = y.data();
      params.pictures = pictures;
      error = cuda::launch_convolve_to_canvas(params, nullptr);
      results.canvas = canvas.last();
      check(canvas.alone(), name(which) + ": another picture's canvas");
      break;
    }
    default: {
      FarCanvas canvas(which, in, pictures);
      cuda::AddToCanvasParams params = canvas_params(which, in);
      canvas.lend(params);
      params.y = y.data();
      params.pictures = pictures;
      params.element = cuda::Element::kFloat16;
      error = cuda::launch_add_to_canvas(params, nullptr);
      results.canvas = canvas.last();
      check(canvas.alone(), name(which) + ": another picture's canvas");
    }
  }
  cuda_host::options().parts = 1;
  check(error == cudaSuccess, name(which) + ", far: launch");
  results.y = y.part(last, of_y);
  if (perturbs) {
    const std::vector<float> minus = y.part(pictures + last, of_y);
    results.y.insert(results.y.end(), minus.begin(), minus.end());
  }
  if (last > 0) check(zeros(y.part(0, of_y)), name(which) + ": another picture's activations");
  return results;
}

}  // namespace

void check_far_elements() {
  for (const Op op : {Op::kPerturbChannels, Op::kActivate, Op::kFilterActivate, Op::kAddToCanvas, Op::kActivateToCanvas,
                      Op::kConvolveToCanvas}) {
    Case which;
    which.op = op;
    which.channels = 64;
    if (op == Op::kConvolveToCanvas) which.inputs = 16;
    which.r = 8;
    which.type = Type::kFloat16;
    // The fewest elements that one picture has in a tensor that is to reach beyond: of lines, where there is a canvas.
    std::int64_t fewest = which.channels * which.r * which.r;
    if (to_canvas(op)) {
      which.resample = Resample::kBicubic;
      which.size = 32;
      fewest = which.r * 3 * which.size;
    }
    const Inputs in = make_inputs(which, 11);
    const Results alone = run(which, in, 1), far = run(which, in, kFar / fewest + 2);
    const std::string fault = compare(which, in, alone);
    check(fault.empty(), name(which) + ", alone: " + fault);
    check(same_bits(far.y, alone.y) && same_bits(far.canvas, alone.canvas), name(which) + ": other bits beyond 2^31");
  }
}

}  // namespace styleclip::checks
