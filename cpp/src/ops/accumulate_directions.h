// The implementations of styleclip::accumulate_directions (schema and meaning: styleclip/ops.h). All of them compute in
// float64 from the inputs as given, so they differ by the order of summation alone.
//
// A picture whose two embeddings are equal adds nothing to sum and count. An embedding that holds NaN or infinity, or
// whose length is zero, makes the channel's sum and magnitude NaN: a broken model shows instead of being averaged away.
#pragma once

#include <ATen/core/Tensor.h>

namespace styleclip {

inline constexpr char kAccumulateDirections[] = "accumulate_directions";
inline constexpr char kAccumulateDirectionsSchema[] =
    "accumulate_directions(Tensor plus, Tensor minus, Tensor(a!) sum, Tensor(b!) magnitude, Tensor(c!) count) -> ()";
using AccumulateDirectionsSignature = void(const at::Tensor&, const at::Tensor&, at::Tensor&, at::Tensor&, at::Tensor&);

/// Throws Error Shape or Argument when the arguments do not fit one another.
void check_accumulate_directions(const at::Tensor& plus, const at::Tensor& minus, const at::Tensor& sum,
                                 const at::Tensor& magnitude, const at::Tensor& count);

/// Plain tensor algebra, on any device.
void accumulate_directions_reference(const at::Tensor& plus, const at::Tensor& minus, at::Tensor& sum,
                                     at::Tensor& magnitude, at::Tensor& count);
/// One pass over the embeddings, channels in parallel.
void accumulate_directions_cpu(const at::Tensor& plus, const at::Tensor& minus, at::Tensor& sum, at::Tensor& magnitude,
                               at::Tensor& count);

}  // namespace styleclip
