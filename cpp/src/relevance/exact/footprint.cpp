// See footprint.h.
#include "relevance/exact/footprint.h"

#include <algorithm>

#include "relevance/exact/up_layer_cpu.h"

namespace styleclip::exact {
namespace {

constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));
constexpr std::int64_t kLines = std::int64_t{1} << 24;  // bytes that add_to_canvas holds at most, for several pictures
// Copies of an activation that the base pass makes beside what it leaves: the input with its style and once more in the order
// of channels last; of the linear part the convolution's and the filter's outputs and, in order, the result.
constexpr std::int64_t kBaseCopies = 5;
constexpr std::int64_t kFoldCopies = 3;  // of a convolution's weights, while they are folded

std::int64_t square(std::int64_t side) { return side * side; }
std::int64_t taps(const Conv& conv) { return 9 * conv.inputs * conv.outputs; }

}  // namespace

std::int64_t Footprint::canvas() const { return 3 * square(canvas_.size()) * kFloat; }

std::int64_t Footprint::network() const {
  std::int64_t numbers = 0;
  for (const Conv& conv : network_.convs) {
    numbers += taps(conv) + conv.inputs * conv.outputs + square(conv.resolution);
  }
  return numbers * kFloat;
}

std::int64_t Footprint::painter() const {
  const auto element = static_cast<std::int64_t>(c10::elementSize(settings_.type));
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < network_.convs.size(); ++i) {
    const Conv& conv = network_.convs[i];
    // Weights, noise; output and linear part.
    bytes += taps(conv) * element + square(conv.resolution) * kFloat + 2 * activations(i, 1, kFloat);
  }
  return bytes + static_cast<std::int64_t>(network_.to_rgbs.size()) * canvas();
}

std::int64_t Footprint::base_pass() const {
  std::int64_t most = 0;
  for (std::size_t i = 0; i < network_.convs.size(); ++i) {
    const std::int64_t running = kBaseCopies * activations(i, 1, kFloat) + scratch(i, 1, kFloat);
    most = std::max({most, running, kFoldCopies * taps(network_.convs[i]) * kFloat});
  }
  return most + 2 * canvas();
}

std::int64_t Footprint::painting(std::int64_t pictures) const {
  std::int64_t most = 0;
  for (std::size_t i = 0; i < network_.convs.size(); ++i) most = std::max(most, perturbed(i, pictures));
  for (std::size_t i = 0; i < network_.to_rgbs.size(); ++i) most = std::max(most, to_rgb(i, pictures));
  return most;
}

std::int64_t Footprint::activations(std::size_t conv, std::int64_t pictures, std::int64_t element) const {
  const Conv& layer = network_.convs[conv];
  return pictures * layer.outputs * square(layer.resolution) * element;
}

// While a layer runs, beside its input and output: oneDNN's copy of the weights, what an up layer puts in between, and the
// lines on their way to the canvas.
std::int64_t Footprint::scratch(std::size_t conv, std::int64_t pictures, std::int64_t element) const {
  const Conv& layer = network_.convs[conv];
  const std::int64_t lines = pictures * 3 * layer.resolution * canvas_.size() * kFloat;
  std::int64_t bytes = taps(layer) * element + std::clamp(kLines, lines / pictures, lines);
  if (!layer.up) return bytes;
  if (settings_.up_layer() == UpLayer::Strips) return bytes + up_layer_cpu_bytes(layer, element);
  return bytes + pictures * layer.outputs * square(layer.resolution + 1) * element;
}

// From `conv` on, `pictures` at once or as many as go together; `given` bytes hold its input.
std::int64_t Footprint::suffix(std::size_t conv, std::int64_t pictures, std::int64_t given) const {
  const auto element = static_cast<std::int64_t>(c10::elementSize(settings_.type));
  std::int64_t now = given, most = given;
  for (std::size_t i = conv; i < network_.convs.size(); ++i) {
    const std::int64_t part = pictures_together(network_.convs[i], settings_);
    // The input of all stays while its parts go through.
    if (pictures > part) return std::max(most, now + suffix(i, part, 0));
    const std::int64_t next = activations(i, pictures, element);
    most = std::max(most, now + next + scratch(i, pictures, element));
    now = next;
  }
  return most;
}

std::int64_t Footprint::perturbed(std::size_t conv, std::int64_t pictures) const {
  const auto element = static_cast<std::int64_t>(c10::elementSize(settings_.type));
  const Conv& layer = network_.convs[conv];
  const std::int64_t part = std::min(pictures, pictures_together(layer, settings_)), channels = (part + 1) / 2;
  const std::int64_t canvases = (pictures + (pictures > part ? part : 0) + 2) * canvas();
  // The channels' planes, padded or with zeros in between, and their taps; each once more in another order.
  const std::int64_t inputs =
      2 * channels * (square(layer.resolution + 2) + 9 * layer.outputs + 2 * layer.outputs) * kFloat;
  const std::int64_t y = activations(conv, part, element);
  return canvases + std::max(inputs + y + scratch(conv, part, element), suffix(conv + 1, part, y));
}

// A change of colours: planes as they are and spread, then both signs' changes and their sums with the unchanged canvas.
std::int64_t Footprint::to_rgb(std::size_t index, std::int64_t pictures) const {
  const std::int64_t channels = (pictures + 1) / 2;
  const std::int64_t planes = square(network_.to_rgbs[index].resolution) * (network_.clamp ? 10 : 1) * kFloat;
  return channels * (planes + 2 * square(canvas_.size()) * kFloat) + 4 * pictures * canvas();
}

}  // namespace styleclip::exact
