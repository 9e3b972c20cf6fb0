// The cases of the operators with gradients (cpp/include/styleclip/ops.h, second half), forwards and backwards, a float64
// reference of each, and the error that each result may have. One table serves the kernels on the CPU (test/cuda-host) and
// the operators on every device (test/selfcheck); it knows neither CUDA nor libtorch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tables.h"

namespace styleclip::cases::gradients {

enum class Op { kResample, kStyledActivate, kFilterStyledActivate, kEditLoss };
inline constexpr Op kOps[] = {Op::kResample, Op::kStyledActivate, Op::kFilterStyledActivate, Op::kEditLoss};
const char* name(Op op);

using tables::Content;

enum class Noise { kNone, kShared, kEach };

struct Case {
  Op op = Op::kStyledActivate;
  Type type = Type::kFloat32;  // of edit_loss always this
  std::int64_t n = 1;
  std::int64_t channels = 1;
  std::int64_t h = 1, w = 1;        // of y; of resample: of the pictures
  std::int64_t to_h = 0, to_w = 0;  // of resample's result
  bool transposed = false;          // resample's matrices, in memory
  bool gain = true;
  Noise noise = Noise::kShared;
  bool limited = false;  // a finite limit
  Content content = Content::kRandom;
  std::int64_t texts = 1;  // edit_loss: channels is the embedding's length, h w a latent's
  bool text_each = false;
  std::int64_t faces = 0;
  bool mean = false;
  bool zeros = false;  // a vector of zeros among the embeddings, the texts and the identities; one gain of zero
};
std::string name(const Case& which);

std::vector<Case> all_cases(Op op, Table table = Table::kAll);

/// What an operator takes; empty where it does not take it. Activations lie as in memory, [n, h, w, channels], their values
/// exactly representable in the case's type; matrices [to, from] row by row.
struct Inputs {
  std::vector<float> x;  // t of the filter, pictures of resample
  std::vector<float> gain, bias, noise, filter;
  std::vector<float> gradient;  // to y
  double limit = 0;
  std::vector<float> vertical, horizontal;
  std::vector<float> embedding, text, latents, source, identity, source_identity;
  double lambda_clip = 0, lambda_l2 = 0, lambda_id = 0;
};
Inputs make_inputs(const Case& which, std::uint64_t seed);

/// What comes back. The backward pass starts from the y that is given here.
struct Results {
  std::vector<float> y;
  std::vector<float> to_x, to_gain, to_bias, to_noise;
  std::vector<float> total, parts, to_embedding, to_latents, to_identity;  // of the sum of the totals
};

/// "" when the results lie within their bounds of the reference, else what is wrong, with the index of the first fault.
std::string compare(const Case& which, const Inputs& inputs, const Results& results);

}  // namespace styleclip::cases::gradients
