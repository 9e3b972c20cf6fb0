#include "floors.h"

#include <algorithm>
#include <vector>

namespace styleclip::bench {

double product(std::int64_t a, std::int64_t b, std::int64_t c) {
  return static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
}

namespace {

struct Sum {
  double seconds = 0, bytes = 0;
};

double convolution(std::int64_t inputs, std::int64_t outputs, std::int64_t side, std::int64_t taps) {
  return 2 * product(taps * inputs, outputs, side * side);
}

double vit_flops(const nlohmann::json& config) {
  const std::int64_t size = config.at("image_size"), patch = config.at("patch"), width = config.at("vision_width");
  const std::int64_t mlp = config.value("vision_mlp", 4 * width), layers = config.at("vision_layers").at(0);
  const std::int64_t patches = (size / patch) * (size / patch), tokens = patches + 1, dim = config.at("embedding");
  // Queries, keys, values and their output; the two products of the MLP; scores and their mixture.
  const double block =
      product(tokens, width, 4 * width) + 2 * product(tokens, width, mlp) + 2 * product(tokens, tokens, width);
  return 2 *
         (product(patches, 3 * patch * patch, width) + static_cast<double>(layers) * block + product(1, width, dim));
}

// CLIP's ModifiedResNet: three convolutions at half size, bottlenecks at a quarter and below, attention pooling.
double resnet_flops(const nlohmann::json& config) {
  const std::int64_t width = config.at("vision_width"), half = width / 2, dim = config.at("embedding");
  std::int64_t side = config.at("image_size").get<std::int64_t>() / 2;
  double sum = convolution(3, half, side, 9) + convolution(half, half, side, 9) + convolution(half, width, side, 9);
  side /= 2;
  std::int64_t inputs = width, planes = width;
  for (std::size_t stage = 0; stage < 4; ++stage, planes *= 2) {
    const std::int64_t blocks = config.at("vision_layers").at(stage);
    for (std::int64_t i = 0; i < blocks; ++i) {
      const std::int64_t after = stage > 0 && i == 0 ? side / 2 : side;
      sum += convolution(inputs, planes, side, 1) + convolution(planes, planes, side, 9) +
             convolution(planes, 4 * planes, after, 1);
      if (i == 0) sum += convolution(inputs, 4 * planes, after, 1);
      inputs = 4 * planes;
      side = after;
    }
  }
  const std::int64_t tokens = side * side + 1;  // keys and values of all, a query of one
  return sum + 2 * (product(2 * tokens + 1, inputs, inputs) + 2 * product(1, tokens, inputs) + product(1, inputs, dim));
}

}  // namespace

double conv_flops(std::int64_t inputs, std::int64_t outputs, std::int64_t from) {
  return 2 * 9 * product(inputs, outputs, from * from);
}

double clip_flops(const Clip& clip) {
  const nlohmann::json config = nlohmann::json::parse(clip.description().json).at("config");
  return config.at("vision") == "vit" ? vit_flops(config) : resnet_flops(config);
}

nlohmann::ordered_json sweep_floor(const Models& models, const SweepInputs& inputs, const Ceilings& ceilings,
                                   Precision precision) {
  const StyleLayout& layout = models.generator->layout();
  std::vector<std::int64_t> swept(layout.layers.size());
  for (const std::int64_t row : inputs.moving) {
    ++swept[layout.layer_of(inputs.channels[static_cast<std::size_t>(row)])];
  }
  const double images = static_cast<double>(inputs.base.size(0));
  const double number = static_cast<double>(at::elementSize(scalar_type(precision)));
  const double flop_rate = ceilings.gflops(precision) * 1e9, byte_rate = ceilings.gbs() * 1e9;
  Sum separate, fused;
  double operations = 0;
  const auto add = [&](double pictures, double flops, double apart, double together) {
    operations += pictures * flops;
    for (const auto& [sum, numbers] : {std::pair(&separate, apart), std::pair(&fused, together)}) {
      sum->bytes += pictures * numbers * number;
      sum->seconds += pictures * std::max(flops / flop_rate, numbers * number / byte_rate);
    }
  };
  double changed = 0;  // pictures that reach the layer with another picture's numbers
  for (std::size_t i = 0; i < layout.layers.size(); ++i) {
    const StyleLayer& layer = layout.layers[i];
    const double own = 2 * images * static_cast<double>(swept[i]);
    if (layer.to_rgb) {
      // Its own channels change the picture alone, by one plane each.
      add(changed, 2 * product(3 * layer.channels, layer.resolution, layer.resolution),
          product(layer.channels, layer.resolution, layer.resolution), 0);
      continue;
    }
    const bool up = i > 0 && layout.layers[i - 1].to_rgb;
    const std::int64_t from = up ? layer.resolution / 2 : layer.resolution;
    const StyleLayer& next = layout.layers[i + 1];  // toRGB is the last layer, and takes what this one gives
    const double out = product(next.channels, layer.resolution, layer.resolution);
    const double middle = up ? product(next.channels, layer.resolution + 1, layer.resolution + 1) : out;
    const double in = product(layer.channels, from, from);
    add(own, 2 * 9 * out, out, out);
    add(changed, conv_flops(layer.channels, next.channels, from), in + 2 * middle + out, in + out);
    changed += own;
  }
  double pictures = 0;
  for (const std::int64_t count : swept) pictures += 2 * images * static_cast<double>(count);
  add(pictures, clip_flops(*models.clip), 0, 0);
  return {{"operations", operations},
          {"separate", {{"bytes", separate.bytes}, {"seconds", separate.seconds}}},
          {"fused", {{"bytes", fused.bytes}, {"seconds", fused.seconds}}}};
}

}  // namespace styleclip::bench
