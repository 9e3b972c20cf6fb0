// From a generator's picture to CLIP's input (openai/CLIP, clip.py `_transform`): shorter side to `size` by bicubic
// with antialiasing (a = -0.5), centre crop, mean and standard deviation.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace styleclip {

/// images [n, 3, h, w] float32 in [-1, 1] -> [n, 3, size, size] float32; differentiable, not clamped. Pictures that are
/// of the size already are not resampled.
at::Tensor preprocess_float(const at::Tensor& images, std::int64_t size, const std::vector<double>& mean,
                            const std::vector<double>& deviation);

/// The same with the released code's three roundings to 8 bits: the picture itself, Pillow's horizontal pass and its
/// vertical pass (reference notes H.2), all on the images' device. Not differentiable. A picture that holds
/// NaN or infinity is NaN altogether.
at::Tensor preprocess_reference8(const at::Tensor& images, std::int64_t size, const std::vector<double>& mean,
                                 const std::vector<double>& deviation);

/// Pillow's Image.resize(BICUBIC) of 8-bit pictures, bit for bit: [n, h, w, 3] -> [n, out_h, out_w, 3] uint8.
at::Tensor pillow_bicubic(const at::Tensor& pixels, std::int64_t out_height, std::int64_t out_width);

}  // namespace styleclip
