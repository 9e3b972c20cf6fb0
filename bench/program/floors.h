// The least time that an exact sweep can take on a device of given ceilings, layer by layer: the larger of its operations
// at the rate of a large matrix product and of its bytes at the rate of a large copy.
#pragma once

#include <nlohmann/json.hpp>

#include "models.h"
#include "relevance/sweep_inputs.h"
#include "timing.h"

namespace styleclip::bench {

/// a b c, without overflow.
double product(std::int64_t a, std::int64_t b, std::int64_t c);
/// Operations of a convolution of `from`² input pixels, a picture; a multiplication and an addition are two.
double conv_flops(std::int64_t inputs, std::int64_t outputs, std::int64_t from);
/// Operations of CLIP's image tower, a picture: its matrix products and convolutions.
double clip_flops(const Clip& clip);

/// Seconds of the sweep over `inputs`, the layers before a changed one cached, the changed one a rank-1 update:
///   separate  a convolution writes, one pass reads and writes (FIR, noise, bias, activation), toRGB reads again
///   fused     each activation is written once and read once
/// with "operations" and "bytes" of both.
nlohmann::ordered_json sweep_floor(const Models& models, const SweepInputs& inputs, const Ceilings& ceilings,
                                   Precision precision);

}  // namespace styleclip::bench
