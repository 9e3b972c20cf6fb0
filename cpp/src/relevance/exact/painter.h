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

/// How a painter works; the same for all pictures of a sweep.
struct PainterSettings {
  at::ScalarType type = at::kFloat;  // of the activations
  /// Pictures go through a layer together as long as their activations stay below this, so that they are still in a
  /// processor's cache when the next layer wants them. 0: all at once, for devices that want large batches.
  std::int64_t together_bytes = 0;
  /// Resolution up to which a changed channel's layers run; 0: all of them. What the later toRGB layers add is the
  /// unchanged picture's. A channel of a later layer runs in full.
  std::int64_t stop_at = 0;
  SameLayer same_layer = SameLayer::Convolution;

  /// Where few go together, for a processor's cache, an up layer goes through it in strips.
  UpLayer up_layer() const { return together_bytes > 0 ? UpLayer::Strips : UpLayer::Convolution; }
};
/// together_bytes for a CPU: half of a second cache.
constexpr std::int64_t kCpuTogether = 1 << 20;
/// Pictures that go through a layer together; even, for both signs.
std::int64_t pictures_together(const Conv& conv, const PainterSettings& settings);

class Painter {
 public:
  /// The base pass. styles [channels] a layer of the StyleLayout; noise a map a convolution, strength included, or
  /// undefined. `network` and `canvas` must live as long.
  Painter(const Network& network, const Canvas& canvas, const std::vector<at::Tensor>& styles,
          const std::vector<at::Tensor>& noise, const PainterSettings& settings);

  /// The unchanged picture's canvas, [3, size, size].
  const at::Tensor& base() const { return totals_.back(); }
  /// [2 K, 3, size, size] float32, plus first: K channels of the conv-th convolution, each with both values. channels [K]
  /// int64, plus and minus [K]. Several threads may paint at once.
  at::Tensor paint_conv(std::size_t conv, const at::Tensor& channels, const at::Tensor& plus,
                        const at::Tensor& minus) const;
  /// The same for the index-th toRGB layer: a rank-1 change of its colours, no later layer runs.
  at::Tensor paint_to_rgb(std::size_t index, const at::Tensor& channels, const at::Tensor& plus,
                          const at::Tensor& minus) const;

 private:
  Painting painting(std::size_t conv, const at::Tensor& target) const;
  std::int64_t together(std::size_t conv) const;
  // The last convolution that runs for a channel of convolution `conv`.
  std::size_t last_for(std::size_t conv) const;
  void run_from(std::size_t conv, std::size_t last, at::Tensor x, const at::Tensor& target) const;
  void perturb_from(std::size_t conv, const at::Tensor& channels, const at::Tensor& plus, const at::Tensor& minus,
                    at::Tensor& target) const;

  const Network& network_;
  const Canvas& canvas_;
  PainterSettings settings_;
  std::vector<FoldedConv> folded_;
  std::vector<FoldedRgb> folded_rgb_;
  std::vector<LayerBase> bases_;
  std::vector<at::Tensor> rgb_inputs_;  // [inputs, r, r] of each toRGB layer
  std::vector<at::Tensor> rgb_styles_;  // [inputs]
  std::vector<at::Tensor> totals_;      // the base canvas after each toRGB layer, [3, size, size]
};

}  // namespace styleclip::exact
