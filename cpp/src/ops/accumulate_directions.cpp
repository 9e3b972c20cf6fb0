// The readable implementation of accumulate_directions, the check that all of them share, and the call of the operator.
#include "ops/accumulate_directions.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/where.h>

#include "ops/registry.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

[[noreturn]] void refuse(ErrorCode code, const std::string& message) {
  throw Error(code, "accumulate_directions: " + message,
              "plus and minus are [channels, images, dim] in one floating type; sum is float64 [channels, dim], "
              "magnitude float64 [channels], count int64 [channels], all on one device.");
}

void check_output(const at::Tensor& output, const char* name, at::ScalarType type, at::IntArrayRef shape,
                  const at::Tensor& input) {
  if (!output.defined() || output.sizes() != shape)
    refuse(ErrorCode::Shape, std::string(name) + " has another shape than the embeddings.");
  if (output.scalar_type() != type) refuse(ErrorCode::Argument, std::string(name) + " has the wrong type.");
  if (output.device() != input.device()) refuse(ErrorCode::Argument, std::string(name) + " is on another device.");
}

}  // namespace

void check_accumulate_directions(const at::Tensor& plus, const at::Tensor& minus, const at::Tensor& sum,
                                 const at::Tensor& magnitude, const at::Tensor& count) {
  if (!plus.defined() || !minus.defined() || plus.dim() != 3 || plus.sizes() != minus.sizes())
    refuse(ErrorCode::Shape, "plus and minus differ in shape.");
  if (plus.size(2) < 1) refuse(ErrorCode::Shape, "embeddings of no numbers.");
  const at::ScalarType type = plus.scalar_type();
  if (type != at::kFloat && type != at::kHalf && type != at::kBFloat16) {
    refuse(ErrorCode::Argument, "embeddings are neither float32 nor float16 nor bfloat16.");
  }
  if (minus.scalar_type() != type) refuse(ErrorCode::Argument, "plus and minus differ in type.");
  if (minus.device() != plus.device()) refuse(ErrorCode::Argument, "plus and minus are on different devices.");
  const std::int64_t channels = plus.size(0);
  check_output(sum, "sum", at::kDouble, {channels, plus.size(2)}, plus);
  check_output(magnitude, "magnitude", at::kDouble, {channels}, plus);
  check_output(count, "count", at::kLong, {channels}, plus);
}

void accumulate_directions_reference(const at::Tensor& plus, const at::Tensor& minus, at::Tensor& sum,
                                     at::Tensor& magnitude, at::Tensor& count) {
  check_accumulate_directions(plus, minus, sum, magnitude, count);
  const auto unit = [](const at::Tensor& f) {
    const at::Tensor wide = f.to(at::kDouble);
    return wide / wide.norm(2, -1, /*keepdim=*/true);
  };
  const at::Tensor difference = unit(plus) - unit(minus);                      // [channels, images, dim]
  const at::Tensor length = difference.norm(2, -1);                            // [channels, images]
  const at::Tensor scale = at::where(length == 0, 1.0, length).unsqueeze(-1);  // NaN stays NaN
  sum += (difference / scale).sum(1);
  magnitude += length.sum(1);
  count += (length > 0).sum(1);
}

void accumulate_directions(const at::Tensor& plus, const at::Tensor& minus, at::Tensor& sum, at::Tensor& magnitude,
                           at::Tensor& count) {
  if (use_reference(kAccumulateDirections, plus)) {
    return accumulate_directions_reference(plus, minus, sum, magnitude, count);
  }
  static const auto op = find_operator(kAccumulateDirections).typed<AccumulateDirectionsSignature>();
  op.call(plus, minus, sum, magnitude, count);
}

}  // namespace styleclip
