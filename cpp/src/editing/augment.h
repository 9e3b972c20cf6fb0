// Disturbed pictures for an encoder's training: what a picture that the generator never drew has and its own have not.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace styleclip {

/// Images [n, 3, h, w] in [-1, 1], each moved, scaled, sharpened or blurred, brightened and covered with noise by amounts of
/// its own, then rounded to 8 bits as a picture file is. `strength` scales the amounts; 0: rounded only. Picture i depends on
/// (seed, first + i) alone.
at::Tensor augmented(const at::Tensor& images, double strength, std::uint64_t seed, std::int64_t first);

}  // namespace styleclip
