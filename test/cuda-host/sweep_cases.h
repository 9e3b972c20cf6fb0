// The cases of the exact sweep's operators (cpp/include/styleclip/ops.h), a float64 reference of each, and the error that
// each result may have. One table serves the kernels on the CPU (test/cuda-host) and the operators on every device
// (test/selfcheck, test/cpp); it knows neither CUDA nor libtorch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tables.h"

namespace styleclip::cases::sweep {

enum class Op {
  kPerturbChannels,
  kActivate,
  kFilterActivate,
  kAddToCanvas,
  kActivateToCanvas,
  kConvolveToCanvas,
  kClipInput
};
inline constexpr Op kOps[] = {Op::kPerturbChannels,  Op::kActivate,         Op::kFilterActivate, Op::kAddToCanvas,
                              Op::kActivateToCanvas, Op::kConvolveToCanvas, Op::kClipInput};
const char* name(Op op);
/// Whether it adds to a canvas, and whether it may leave y out then.
inline bool to_canvas(Op op) {
  return op == Op::kAddToCanvas || op == Op::kActivateToCanvas || op == Op::kConvolveToCanvas;
}
inline bool may_keep(Op op) { return op == Op::kActivateToCanvas || op == Op::kConvolveToCanvas; }

using tables::Content;

/// A resampling matrix [size, r].
enum class Resample {
  kIdentity,  // no matrix: size is r
  kBicubic,   // antialiased when it shrinks
  kRagged,    // bands of uneven length with zeros between, rows of nothing but zeros
};

struct Case {
  Op op = Op::kActivate;
  std::int64_t n = 1;  // pictures; style channels of perturb_channels, whose y has 2 n
  std::int64_t channels = 1;
  std::int64_t inputs = 0;  // channels of convolve_to_canvas' x
  std::int64_t r = 4;       // of y; of clip_input: the canvas
  Type type = Type::kFloat32;
  bool noise = true;
  bool limited = false;  // finite limits
  Content content = Content::kRandom;
  Resample resample = Resample::kIdentity;
  std::int64_t size = 0;  // of the canvas, with a matrix
  bool keep = true;
  std::int64_t patch = 0;
};
std::string name(const Case& which);

std::vector<Case> all_cases(Op op, Table table = Table::kAll);

/// What an operator takes; empty where it does not take it. Activations lie as in memory, [n, r, r, channels], their values
/// exactly representable in the case's type.
struct Inputs {
  std::vector<float> y;  // before, of the operators in place, and of add_to_canvas
  std::vector<float> planes, taps, linear, steps, gains;
  std::vector<float> t, filter;
  std::vector<float> x, kernel;  // [n, r, r, inputs], [channels, 3, 3, inputs]
  std::vector<float> bias, noise;
  std::vector<float> weight, rgb_bias, matrix, canvas;
  std::vector<float> mean, deviation;
  double limit = 0, rgb_limit = 0;
};
Inputs make_inputs(const Case& which, std::uint64_t seed);

/// Sizes of what is written.
std::int64_t y_size(const Case& which);
std::int64_t canvas_side(const Case& which);

struct Results {
  std::vector<float> y;       // also clip_input's `out`; not looked at where the operator does not write it
  std::vector<float> canvas;  // of those that add to it
};

/// What an implementation does with the zeros of a resampling matrix beside a row's band: it matters to NaN alone.
enum class Zeros { kSkipped, kMultiplied };

/// "" when the results lie within their bounds of the reference, else what is wrong, with the index of the first fault.
std::string compare(const Case& which, const Inputs& inputs, const Results& results, Zeros zeros = Zeros::kSkipped);

}  // namespace styleclip::cases::sweep
