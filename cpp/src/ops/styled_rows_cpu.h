// The inner loops of the two layers' ends with gradients: vectorised over the channels, for float and double.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <vector>

#include "ops/instructions_cpu.h"
#include "ops/rows_cpu.h"
#include "ops/styled_activate.h"

namespace styleclip::rows {

/// What one picture's pixels share. gain and bias [channels].
template <typename A>
struct LayerEnd {
  const A* gain;
  const A* bias;
  A limit;
  std::int64_t channels;
};

/// y = clamp(√2 leaky_relu(gain x + noise + bias, 0.2), ±limit) of `pixels` neighbours; noise may be null, y may be x.
void finish(const float* x, std::int64_t pixels, const LayerEnd<float>& end, const float* noise, float* y);
void finish(const double* x, std::int64_t pixels, const LayerEnd<double>& end, const double* noise, double* y);

/// What comes from above to a result y. Either the gradient to y, or the one to y times `style`, of a convolution that took
/// it so; and, of a toRGB layer that took it, the gradient to its colours. Null is what is not there.
template <typename A>
struct Upstream {
  const A* gradient = nullptr;  // [pixels, channels]
  const A* style = nullptr;     // [channels]
  const A* colours = nullptr;   // [3, channels]: the toRGB layer's weight, its style multiplied in
  std::array<const A*, 3> rgb{nullptr, nullptr, nullptr};  // [pixels] each
};

/// Sums that the gradients go to, each null where it is not wanted. All are added to but noise, which is written, one a pixel.
/// Those of bias and noise are for an Upstream of the gradient alone.
template <typename A>
struct Sums {
  A* gain = nullptr;                                     // [channels], of the products with gain x: not divided by gain
  A* bias = nullptr;                                     // [channels]
  A* noise = nullptr;                                    // [pixels]
  A* style = nullptr;                                    // [channels], of the gradient times y
  std::array<A*, 3> colours{nullptr, nullptr, nullptr};  // [channels] each, of rgb times y
};

/// The gradient to x of `pixels` neighbours, from what comes from above and y. to_x may be the gradient above, but not y.
/// With the loops of one instruction set; by default the widest.
void unfinish(const Upstream<float>& above, const float* y, std::int64_t pixels, const LayerEnd<float>& end,
              const float* noise, float* to_x, const Sums<float>& sums);
void unfinish(const Upstream<double>& above, const double* y, std::int64_t pixels, const LayerEnd<double>& end,
              const double* noise, double* to_x, const Sums<double>& sums);
void unfinish(const Upstream<float>& above, const float* y, std::int64_t pixels, const LayerEnd<float>& end,
              const float* noise, float* to_x, const Sums<float>& sums, Instructions instructions);

/// gain, bias and noise as the loops read them: gains of one where there are none.
template <typename A>
class Companions {
 public:
  Companions(const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise, std::int64_t h, std::int64_t w)
      : gain_(gain.defined() ? gain.contiguous() : gain),
        bias_(bias.contiguous()),
        noise_(noise.defined() ? noise.contiguous() : noise),
        ones_(gain.defined() ? 0 : static_cast<std::size_t>(bias.size(0)), A{1}),
        row_(w),
        picture_(noise.defined() && noise.dim() == 3 ? h * w : 0) {}

  LayerEnd<A> end(std::int64_t n, double limit) const {
    const std::int64_t channels = bias_.size(0);
    return {gain_.defined() ? gain_.const_data_ptr<A>() + n * channels : ones_.data(), bias_.const_data_ptr<A>(),
            static_cast<A>(limit), channels};
  }
  /// Of one row of pixels, or null.
  const A* noise(std::int64_t n, std::int64_t row) const {
    return noise_.defined() ? noise_.const_data_ptr<A>() + n * picture_ + row * row_ : nullptr;
  }

 private:
  at::Tensor gain_, bias_, noise_;
  std::vector<A> ones_;
  std::int64_t row_, picture_;
};

/// Sums of blocks of rows, and the gradients that they make. The blocks' size does not depend on the number of threads,
/// and they are added up in order and in float64, so neither does the result.
class BlockSums {
 public:
  /// Of y [n, channels, h, w], each picture of which has `blocks` blocks.
  BlockSums(const at::Tensor& y, const at::Tensor& bias, Wanted wanted, std::int64_t blocks);

  /// Where one row of one block adds to.
  template <typename A>
  Sums<A> of(std::int64_t n, std::int64_t block, std::int64_t row) {
    const std::int64_t at = (n * blocks_ + block) * channels_;
    Sums<A> sums;
    if (gain_.defined()) sums.gain = gain_.mutable_data_ptr<A>() + at;
    if (bias_.defined()) sums.bias = bias_.mutable_data_ptr<A>() + at;
    if (noise_.defined()) sums.noise = noise_.mutable_data_ptr<A>() + (n * h_ + row) * w_;
    return sums;
  }

  /// Puts the wanted gradients to gain, bias and noise into `all`.
  void gradients(const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& noise, Gradients& all) const;

 private:
  std::int64_t channels_, h_, w_, blocks_;
  at::Tensor gain_, bias_;  // [n, blocks, channels]
  at::Tensor noise_;        // [n, h, w]
};

}  // namespace styleclip::rows
