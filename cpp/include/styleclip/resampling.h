// Resamplings as matrices [to, from] of one direction, float64 on the CPU, for resample(). A picture x becomes V x Hᵀ.
// Sizes are pixels, all above zero; another size is an Error Range. All but face_crop_matrix act alike in both directions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

namespace styleclip {

/// What StyleCLIP's released code shows to CLIP (SC:criteria/clip_loss.py): every pixel seven times, then means over
/// size / 32 neighbours: [224, size]. For another CLIP input the pixels stand clip_size / 32 times. Both sizes must be
/// multiples of 32, as they must there.
at::Tensor clip_resample_matrix(std::int64_t size, std::int64_t clip_size = 224);

/// Bicubic, a = -0.5, antialiased where it shrinks: torch's interpolate(mode="bicubic", antialias=True), and Pillow's
/// BICUBIC before rounding.
at::Tensor bicubic_matrix(std::int64_t from, std::int64_t to);

/// Adaptive average pooling, torch's AdaptiveAvgPool2d.
at::Tensor pool_matrix(std::int64_t from, std::int64_t to);

/// The face of an aligned picture for an identity network (SC:criteria/id_loss.py): pooled to 256 pixels where it has
/// another size, rows 35 to 222 and columns 32 to 219 of that, pooled to `out`. {vertical, horizontal} of a picture of
/// `height` by `width` pixels.
std::pair<at::Tensor, at::Tensor> face_crop_matrix(std::int64_t height, std::int64_t width, std::int64_t out = 112);

/// StyleGAN2's way from one resolution's picture to the next: zeros between the pixels, then the filter [1, 3, 3, 1] with
/// its gain: upfirdn2d(up=2, pad=(2, 1)). [2 r, r].
at::Tensor upsample_matrix(std::int64_t r);

}  // namespace styleclip
