// Bytes that painting takes, from the layers' sizes: upper estimates, for the batch that a bound on memory leaves room for.
// They follow painter.cpp and layers.cpp tensor by tensor; whoever holds one more there counts it here.
#pragma once

#include <cstdint>

#include "relevance/exact/canvas.h"
#include "relevance/exact/network.h"
#include "relevance/exact/painter.h"

namespace styleclip::exact {

class Footprint {
 public:
  /// All three must live as long.
  Footprint(const Network& network, const Canvas& canvas, const PainterSettings& settings)
      : network_(network), canvas_(canvas), settings_(settings) {}

  /// Of `network` itself.
  std::int64_t network() const;
  /// Held by a Painter: folded weights, and what the base pass leaves.
  std::int64_t painter() const;
  /// Beside that, while the base pass runs.
  std::int64_t base_pass() const;
  /// Of one thread that paints `pictures` of any one layer, both signs counted: their canvases and all on the way to them.
  std::int64_t painting(std::int64_t pictures) const;
  /// Of one canvas.
  std::int64_t canvas() const;

 private:
  std::int64_t activations(std::size_t conv, std::int64_t pictures, std::int64_t element) const;
  std::int64_t scratch(std::size_t conv, std::int64_t pictures, std::int64_t element) const;
  std::int64_t suffix(std::size_t conv, std::int64_t pictures, std::int64_t given) const;
  std::int64_t perturbed(std::size_t conv, std::int64_t pictures) const;
  std::int64_t to_rgb(std::size_t index, std::int64_t pictures) const;

  const Network& network_;
  const Canvas& canvas_;
  const PainterSettings& settings_;
};

}  // namespace styleclip::exact
