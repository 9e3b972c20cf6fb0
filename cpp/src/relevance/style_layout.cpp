// StyleSpace's table of contents: names, order and offsets of a generator's style channels, and the way between a list
// of styles per layer and one flat S vector. See style_layout.h for the order; W+ rows follow StyleGAN2, where a toRGB
// layer is fed by the row of the next block's first convolution (arXiv 1912.04958; arXiv 2011.12799, appendix A).
#include "styleclip/style_layout.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "styleclip/error.h"

namespace styleclip {
namespace {

std::string shape_text(const at::Tensor& tensor) {
  std::string text = "[";
  for (std::int64_t i = 0; i < tensor.dim(); ++i) text += (i ? ", " : "") + std::to_string(tensor.size(i));
  return text + "]";
}

std::string known_names(const StyleLayout& layout) {
  std::string names = "conv, torgb, all";
  for (const StyleLayer& layer : layout.layers) names += ", " + layer.name;
  return names;
}

}  // namespace

std::int64_t StyleLayout::total() const { return layers.empty() ? 0 : layers.back().offset + layers.back().channels; }

std::int64_t StyleLayout::conv_channels() const {
  std::int64_t sum = 0;
  for (const StyleLayer& layer : layers) sum += layer.to_rgb ? 0 : layer.channels;
  return sum;
}

std::int64_t StyleLayout::torgb_channels() const { return total() - conv_channels(); }

std::size_t StyleLayout::layer_of(std::int64_t channel) const {
  if (channel < 0 || channel >= total()) {
    throw Error(ErrorCode::Range, "There is no style channel " + std::to_string(channel) + ".",
                "This generator's channels are 0 to " + std::to_string(total() - 1) + ".");
  }
  const auto after = std::upper_bound(layers.begin(), layers.end(), channel,
                                      [](std::int64_t c, const StyleLayer& layer) { return c < layer.offset; });
  return static_cast<std::size_t>(after - layers.begin()) - 1;
}

std::vector<std::int64_t> StyleLayout::select(const std::vector<std::string>& names) const {
  if (names.empty()) {
    throw Error(ErrorCode::Argument, "The set of style layers is empty.",
                "Name at least one of: " + known_names(*this));
  }
  const std::unordered_set<std::string> wanted(names.begin(), names.end());
  const bool all = wanted.count("all") > 0;
  const bool conv = all || wanted.count("conv") > 0;
  const bool torgb = all || wanted.count("torgb") > 0;
  std::size_t named = wanted.count("all") + wanted.count("conv") + wanted.count("torgb");

  std::vector<std::int64_t> channels;
  for (const StyleLayer& layer : layers) {
    const bool by_name = wanted.count(layer.name) > 0;
    named += by_name;
    if (!by_name && !(layer.to_rgb ? torgb : conv)) continue;
    for (std::int64_t c = 0; c < layer.channels; ++c) channels.push_back(layer.offset + c);
  }
  if (named == wanted.size()) return channels;

  for (const std::string& name : names) {
    const bool known = name == "all" || name == "conv" || name == "torgb" ||
                       std::any_of(layers.begin(), layers.end(), [&](const auto& layer) { return layer.name == name; });
    if (known) continue;
    throw Error(ErrorCode::Argument, "There is no style layer \"" + name + "\".",
                "Name layers out of: " + known_names(*this));
  }
  return channels;
}

at::Tensor StyleLayout::flatten(const std::vector<at::Tensor>& styles) const {
  if (styles.size() != layers.size()) {
    throw Error(ErrorCode::Shape,
                "Got styles of " + std::to_string(styles.size()) + " layers, the generator has " +
                    std::to_string(layers.size()) + ".",
                "Give one tensor [n, channels] for each layer, in synthesis order.");
  }
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const at::Tensor& style = styles[i];
    if (style.dim() == 2 && style.size(1) == layers[i].channels && style.size(0) == styles[0].size(0)) continue;
    throw Error(ErrorCode::Shape, "The styles of layer " + layers[i].name + " have shape " + shape_text(style) + ".",
                "Expected [n, " + std::to_string(layers[i].channels) + "] with the same n for every layer.");
  }
  return at::cat(styles, 1);
}

std::vector<at::Tensor> StyleLayout::unflatten(const at::Tensor& s) const {
  if (s.dim() != 2 || s.size(1) != total()) {
    throw Error(ErrorCode::Shape, "S codes have shape " + shape_text(s) + ".",
                "Expected [n, " + std::to_string(total()) + "].");
  }
  std::vector<at::Tensor> styles;
  styles.reserve(layers.size());
  for (const StyleLayer& layer : layers) styles.push_back(s.narrow(1, layer.offset, layer.channels));
  return styles;
}

StyleLayout StyleLayout::stylegan2(std::int64_t image_size, const std::vector<std::int64_t>& channels) {
  std::size_t blocks = 0;
  for (std::int64_t resolution = 4; resolution <= image_size; resolution *= 2) ++blocks;
  if (blocks == 0 || image_size != std::int64_t{2} << blocks) {
    throw Error(ErrorCode::Range, "A StyleGAN2 of " + std::to_string(image_size) + " pixels does not exist.",
                "The size is a power of two, 4 or more.");
  }
  if (channels.size() != blocks) {
    throw Error(ErrorCode::Shape,
                "Got channel counts of " + std::to_string(channels.size()) + " resolutions; " +
                    std::to_string(image_size) + " pixels have " + std::to_string(blocks) + ".",
                "Give one for each of 4, 8, … up to the image size.");
  }
  if (std::any_of(channels.begin(), channels.end(), [](std::int64_t c) { return c < 1; })) {
    throw Error(ErrorCode::Range, "A resolution with no channels.", "Every channel count is 1 or more.");
  }

  StyleLayout layout;
  std::int64_t offset = 0;
  const auto add = [&](std::int64_t resolution, const char* kind, std::int64_t count, bool to_rgb, std::int64_t row) {
    std::string name = "b";
    name.append(std::to_string(resolution)).append(".").append(kind);
    layout.layers.push_back({std::move(name), resolution, count, to_rgb, row, offset});
    offset += count;
  };
  add(4, "conv1", channels[0], false, 0);
  add(4, "torgb", channels[0], true, 1);
  for (std::size_t block = 1; block < blocks; ++block) {
    const std::int64_t resolution = std::int64_t{4} << block;
    const std::int64_t row = 2 * static_cast<std::int64_t>(block) - 1;
    add(resolution, "conv0", channels[block - 1], false, row);
    add(resolution, "conv1", channels[block], false, row + 1);
    add(resolution, "torgb", channels[block], true, row + 2);
  }
  layout.rows = 2 * static_cast<std::int64_t>(blocks);
  return layout;
}

}  // namespace styleclip
