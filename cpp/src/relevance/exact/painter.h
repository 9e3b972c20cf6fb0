// Pictures of one sample, each with one style channel changed, as CLIP's input canvas: everything that does not depend on
// the channel is computed once and kept, and only the layers after it run again.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "relevance/exact/canvas.h"
#include "relevance/exact/layers.h"
#include "relevance/exact/network.h"

namespace styleclip::exact {

class Painter {
 public:
  /// `styles`: one [channels_l] a layer of the layout, of one picture; `noise`: one map a convolution, strength multiplied
  /// in, undefined for none.
  Painter(const Network& network, const Canvas& canvas, const std::vector<at::Tensor>& styles,
          const std::vector<at::Tensor>& noise);

  /// The picture itself: [3, size, size].
  const at::Tensor& base() const { return totals_.back(); }

  /// With channels of convolution `conv` set to plus and to minus: [2 K, 3, size, size], plus first.
  at::Tensor paint_conv(std::size_t conv, const at::Tensor& channels, const at::Tensor& plus,
                        const at::Tensor& minus) const;
  /// The same for channels of a toRGB layer.
  at::Tensor paint_to_rgb(std::size_t to_rgb, const at::Tensor& channels, const at::Tensor& plus,
                          const at::Tensor& minus) const;

 private:
  const FoldedRgb* rgb_after(std::size_t conv) const;

  const Network& network_;
  const Canvas& canvas_;
  std::vector<FoldedConv> folded_;
  std::vector<LayerBase> bases_;
  std::vector<FoldedRgb> folded_rgb_;
  std::vector<at::Tensor> rgb_styles_, rgb_inputs_;  // [inputs]; [inputs, r, r]
  std::vector<at::Tensor> totals_;                   // [3, size, size] after each toRGB layer
};

}  // namespace styleclip::exact
