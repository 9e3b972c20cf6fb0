// Where a model breaks. An embedding that holds NaN or infinity says nothing of its cause: by then every channel of every
// later layer may hold them. So the picture is computed once more, layer by layer, up to the first number that is none.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "relevance/engine.h"

namespace styleclip {

/// Of the picture with S codes s [total], number `picture`, computed with activations of that type: "the output of b16.conv0 is
/// not finite in channel 3"; or the constant input, the whole picture where the generator cannot be taken apart, CLIP's
/// embedding with the weight at fault where there is one. Empty where the picture has an embedding of some length.
std::string first_break(const SweepTask& task, const at::Tensor& s, std::int64_t picture, at::ScalarType type);

/// NotFinite: which of these sample pictures breaks, with what style channel changed if it takes that, and where; of a row of
/// SweepInputs::moving whose sums are broken. Where no picture breaks, as slopes may by themselves, the row's channel alone is
/// named. Aborted where the run is stopped meanwhile.
[[noreturn]] void throw_broken(const SweepTask& task, std::int64_t row, std::int64_t first_picture,
                               std::int64_t pictures, at::ScalarType type);

}  // namespace styleclip
