// See broken.h. Nothing here runs unless something is broken.
#include "relevance/broken.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/rsqrt.h>
#include <c10/core/GradMode.h>

#include <array>
#include <cstdio>
#include <memory>
#include <numbers>
#include <optional>
#include <vector>

#include "models/scalar_type.h"
#include "relevance/exact/layers.h"
#include "relevance/exact/network.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

// Of x [1, channels, …]: the first channel that holds a number that is not finite, or −1.
std::int64_t broken_channel(const at::Tensor& x) {
  const at::Tensor finite = at::isfinite(x).flatten(2).all(2)[0];
  return finite.all().item<bool>() ? -1 : finite.to(at::kByte).argmin().item<std::int64_t>();
}

std::string told(const std::string& what, const at::Tensor& x) {
  const std::int64_t channel = broken_channel(x);
  return channel < 0 ? "" : what + " is not finite in channel " + std::to_string(channel);
}

// A convolution's output for one picture, its linear part before demodulation as a changed channel's is: folded weights would
// lose an overflow of both.
at::Tensor output_of(const exact::Network& network, const exact::Conv& conv, const at::Tensor& x,
                     const at::Tensor& style, const at::Tensor& noise, at::ScalarType type) {
  const exact::LayerBase base = exact::layer_base(conv, x[0], style, exact::up_layer_of(x.device()));
  const at::Tensor u = base.linear * at::rsqrt(base.variance) * std::numbers::sqrt2;  // [r r, outputs]
  at::Tensor y = u.t().view({1, conv.outputs, conv.resolution, conv.resolution});
  y = y.to(type).contiguous(at::MemoryFormat::ChannelsLast);
  activate(y, conv.bias * std::numbers::sqrt2, noise.defined() ? noise * std::numbers::sqrt2 : noise, network.limit());
  return y;
}

// Up to the last layer's colours; empty where all of them are finite.
std::string break_in_network(const exact::Network& network, const SweepTask& task, const at::Tensor& s,
                             std::int64_t picture, at::ScalarType type) {
  const StyleLayout& layout = task.generator.layout();
  const std::vector<at::Tensor> styles = layout.unflatten(s.unsqueeze(0));
  const auto named = [&](std::int64_t layer) {
    return "the output of " + layout.layers[static_cast<std::size_t>(layer)].name;
  };
  const std::vector<at::Tensor> noise =
      exact::noise_of(network, task.options.noise, task.options.samples.seed, picture);
  at::Tensor x = network.input.unsqueeze(0).to(type).contiguous(at::MemoryFormat::ChannelsLast);
  std::string found = told("the constant input", x);
  for (std::size_t i = 0; found.empty() && i < network.convs.size(); ++i) {
    const exact::Conv& conv = network.convs[i];
    const at::Tensor style = styles[static_cast<std::size_t>(conv.layer)][0];
    x = output_of(network, conv, x, style, noise[i], type);
    found = told(named(conv.layer), x);
    if (!found.empty() || i % 2 != 0)
      continue;  // colours are taken after the first convolution, then after every second
    const exact::ToRgb& to_rgb = network.to_rgbs[i / 2];
    const at::Tensor colour_style = styles[static_cast<std::size_t>(to_rgb.layer)][0];
    found = told(named(to_rgb.layer), exact::mix(exact::fold(to_rgb, colour_style, network.limit()), x));
  }
  return found;
}

// The first of CLIP's weights that is not finite, or nothing.
std::string broken_weight(const Clip& clip) {
  for (const auto& [name, tensor] : clip.tensors()) {
    if (!tensor.is_floating_point() || tensor.numel() == 0) continue;
    const at::Tensor finite = at::isfinite(tensor.view({tensor.dim() > 0 ? tensor.size(0) : 1, -1})).all(1);
    if (finite.all().item<bool>()) continue;
    return "; its weight " + name + " is not, in row " +
           std::to_string(finite.to(at::kByte).argmin().item<std::int64_t>());
  }
  return "";
}

// Of a picture [1, 3, size, size] that is finite.
std::string break_in_clip(const SweepTask& task, const at::Tensor& image, at::ScalarType type) {
  const std::string dtype = dtype_name(type);
  const std::shared_ptr<Clip> clip = task.clip.dtype() == dtype
                                         ? std::shared_ptr<Clip>(std::shared_ptr<Clip>(), &task.clip)
                                         : task.clip.converted(dtype);
  const at::Tensor f = clip->encode_image(clip->preprocess(image, task.options.preprocess));
  if (!at::isfinite(f).all().item<bool>())
    return "CLIP's embedding is not finite, though the picture is" + broken_weight(*clip);
  return f.norm().item<double>() > 0 ? "" : "CLIP's embedding has no length";
}

std::string decimal(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

}  // namespace

std::string first_break(const SweepTask& task, const at::Tensor& s, std::int64_t picture, at::ScalarType type) {
  const c10::NoGradGuard no_grad;
  const std::optional<exact::Network> network = exact::read_network(task.generator);
  std::string found;
  if (network) found = break_in_network(*network, task, s, picture, type);
  if (found.empty()) {
    const at::Tensor image =
        task.generator.synthesis(s.unsqueeze(0), task.options.noise, task.options.samples.seed, picture);
    found = told("the picture", image);
    if (found.empty()) found = break_in_clip(task, image, type);
  }
  if (!found.empty() && type != at::kFloat) found += ", in " + std::string(dtype_name(type));
  return found;
}

void throw_broken(const SweepTask& task, std::int64_t row, std::int64_t first_picture, std::int64_t pictures,
                  at::ScalarType type) {
  const SweepInputs& inputs = task.inputs;
  const std::int64_t place = inputs.moving[static_cast<std::size_t>(row)];
  const std::int64_t channel = inputs.channels[static_cast<std::size_t>(place)];
  const std::string name = channel_name(task.generator.layout(), channel);
  for (std::int64_t picture = first_picture; picture < first_picture + pictures; ++picture) {
    std::string message = "Sample picture " + std::to_string(picture) + " breaks with ";
    const at::Tensor base = inputs.base[picture];
    task.run.check();
    const std::string always = first_break(task, base, picture, type);
    if (!always.empty()) {
      message.append("no style channel changed: ").append(always).append(".");
      throw Error(ErrorCode::NotFinite, message,
                  "The model is damaged: import it again, or use another file. In half precision, try float32.");
    }
    for (const at::Tensor& values : {inputs.plus, inputs.minus}) {
      task.run.check();
      const at::Tensor value = values[place][picture];
      at::Tensor changed = base.clone();
      changed[channel].copy_(value);
      const std::string then = first_break(task, changed, picture, type);
      if (then.empty()) continue;
      message.append(name).append(" at ").append(decimal(value.item<double>())).append(": ").append(then).append(".");
      throw Error(ErrorCode::NotFinite, message,
                  "Use fewer sigmas, or other statistics. In half precision, try float32.");
    }
  }
  throw Error(ErrorCode::NotFinite, "The pictures of " + name + " give an embedding, or slopes, that are not finite.",
              "Check both models: render a few pictures and look; in half precision, try float32.");
}

}  // namespace styleclip
