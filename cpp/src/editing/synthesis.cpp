// See synthesis.h.
#include "editing/synthesis.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "ops/differentiable.h"
#include "ops/filter_styled_activate.h"
#include "styleclip/ops.h"
#include "styleclip/resampling.h"

namespace styleclip {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// x [n, inputs, h, w], style [n, inputs] -> conv(weight, style x), transposed with stride 2 on an up layer. What it keeps
// for the way back is x, which the layer before keeps anyway; autograd's own product and convolution keep style x too.
class StyledConvolution : public torch::autograd::Function<StyledConvolution> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& style,
                            const at::Tensor& weight, bool up) {
    context->save_for_backward({x, style, weight});
    context->saved_data["up"] = up;
    return convolve(x * style.unsqueeze(2).unsqueeze(3), weight, up);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &style = saved[1], &weight = saved[2];
    const bool up = context->saved_data["up"].toBool();
    const std::vector<std::int64_t> stride(2, up ? 2 : 1), padding(2, up ? 0 : 1), one(2, 1), zero(2, 0);
    // The input's values play no part in its own gradient.
    const at::Tensor g = std::get<0>(at::convolution_backward(gradients[0], x, weight, at::OptionalIntArrayRef(),
                                                              stride, padding, one, up, zero, 1, {true, false, false}));
    at::Tensor to_x, to_style;
    if (context->needs_input_grad(1)) to_style = (g * x).sum({2, 3});
    if (context->needs_input_grad(0)) to_x = g * style.unsqueeze(2).unsqueeze(3);
    return {to_x, to_style, at::Tensor(), at::Tensor()};
  }

 private:
  static at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight, bool up) {
    if (up) return at::conv_transpose2d(x, weight, {}, 2);
    return at::conv2d(x, weight, {}, 1, 1);
  }
};

// As the convolution wants it: [outputs, inputs, 3, 3], or, transposed, [inputs, outputs, 3, 3].
at::Tensor oriented(const exact::Conv& conv) { return conv.up ? conv.weight.transpose(0, 1) : conv.weight; }

// Pictures [n, 3, size, size] of operators with gradients; fills `trace` where there is one.
at::Tensor synthesize(const SynthesisNetwork& synthesis, const at::Tensor& s, bool noise, SynthesisTrace* trace) {
  const exact::Network& network = synthesis.network;
  const std::vector<at::Tensor> styles = synthesis.layout.unflatten(s);
  const double limit = network.limit();
  const std::int64_t n = s.size(0);
  const auto style_of = [&](std::int64_t layer) { return styles[static_cast<std::size_t>(layer)]; };

  const auto run_conv = [&](const exact::Conv& conv, const at::Tensor& x) {
    const at::Tensor style = style_of(conv.layer);
    const at::Tensor gain = at::rsqrt(at::matmul(style.square(), conv.power.t()) + conv.epsilon);
    const at::Tensor u = StyledConvolution::apply(x, style * conv.scale, oriented(conv), conv.up);
    const at::Tensor map = noise ? conv.noise : at::Tensor();
    at::Tensor y = conv.up ? filter_styled_activate(u, conv.filter, gain, conv.bias, map, limit)
                           : styled_activate(u, gain, conv.bias, map, limit);
    if (trace != nullptr) trace->results.push_back(y);
    return y;
  };
  const auto run_rgb = [&](const exact::ToRgb& to_rgb, const at::Tensor& x) {
    const at::Tensor weight = to_rgb.weight * style_of(to_rgb.layer).unsqueeze(1);  // [n, 3, inputs]
    const std::int64_t r = to_rgb.resolution;
    const at::Tensor pixels = x.permute({0, 2, 3, 1}).reshape({n, r * r, to_rgb.inputs});
    at::Tensor rgb = at::matmul(pixels, weight.transpose(1, 2)).transpose(1, 2).reshape({n, 3, r, r}) +
                     to_rgb.bias.view({1, 3, 1, 1});
    if (!network.clamp) return rgb;
    if (trace != nullptr) trace->unclamped.push_back(rgb);
    return rgb.clamp(-limit, limit);
  };

  at::Tensor x = network.input.unsqueeze(0).expand({n, -1, -1, -1}).contiguous(at::MemoryFormat::ChannelsLast);
  x = run_conv(network.convs[0], x);
  at::Tensor picture = run_rgb(network.to_rgbs[0], x);
  for (std::size_t block = 1; block < network.to_rgbs.size(); ++block) {
    x = run_conv(network.convs[2 * block - 1], x);
    x = run_conv(network.convs[2 * block], x);
    picture = run_rgb(network.to_rgbs[block], x) + upsample_picture(picture);
  }
  return picture;
}

struct Held : torch::CustomClassHolder {
  explicit Held(std::shared_ptr<const SynthesisNetwork> network) : synthesis(std::move(network)) {}
  const std::shared_ptr<const SynthesisNetwork> synthesis;
};

// All of it as one node, whose way back is synthesis_cpu.cpp's.
class Synthesis : public torch::autograd::Function<Synthesis> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& s,
                            const std::shared_ptr<const SynthesisNetwork>& synthesis, bool noise) {
    SynthesisTrace trace;
    at::Tensor pictures = synthesize(*synthesis, s, noise, &trace);
    variable_list kept = {s};
    kept.insert(kept.end(), trace.results.begin(), trace.results.end());
    kept.insert(kept.end(), trace.unclamped.begin(), trace.unclamped.end());
    context->save_for_backward(std::move(kept));
    context->saved_data["synthesis"] = c10::IValue::make_capsule(c10::make_intrusive<Held>(synthesis));
    context->saved_data["noise"] = noise;
    return pictures;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    require_first_derivative("synthesis");
    const auto held = c10::static_intrusive_pointer_cast<Held>(context->saved_data["synthesis"].toCapsule());
    const SynthesisNetwork& synthesis = *held->synthesis;
    const variable_list kept = context->get_saved_variables();
    const auto results = kept.begin() + 1, unclamped = results + std::ssize(synthesis.network.convs);
    const SynthesisTrace trace{kept[0], {results, unclamped}, {unclamped, kept.end()}};
    return {synthesis_gradient_cpu(synthesis, trace, context->saved_data["noise"].toBool(), gradients[0]), at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

DifferentiableSynthesis::DifferentiableSynthesis(SynthesisNetwork network)
    : network_(std::make_shared<const SynthesisNetwork>(std::move(network))) {}

std::unique_ptr<DifferentiableSynthesis> DifferentiableSynthesis::of(Generator& generator) {
  const c10::InferenceMode inference(false);  // whatever the caller's is: what is made here has a way back
  if (generator.dtype() != "float32") return nullptr;
  std::optional<exact::Network> network = exact::read_network(generator, exact::Weights::AsStored);
  if (!network) return nullptr;
  for (const exact::ToRgb& to_rgb : network->to_rgbs) {
    // upsample_picture() has StyleGAN2's own filter.
    const at::Tensor own = at::tensor({0.25, 0.75, 0.75, 0.25}, to_rgb.weight.options());
    if (to_rgb.filter.defined() && !to_rgb.filter.allclose(own, 1e-6, 1e-7)) return nullptr;
  }
  SynthesisNetwork synthesis{std::move(*network), generator.layout(), {}};
  for (std::size_t i = 0; i + 1 < synthesis.network.to_rgbs.size(); ++i) {
    synthesis.doublings.push_back(upsample_matrix(synthesis.network.to_rgbs[i].resolution).to(at::kFloat));
  }
  return std::unique_ptr<DifferentiableSynthesis>(new DifferentiableSynthesis(std::move(synthesis)));
}

at::Tensor DifferentiableSynthesis::pictures(const at::Tensor& s, bool noise) const {
  const bool fused = s.is_cpu() && !runs_reference(kStyledActivate, s) && !runs_reference(kFilterStyledActivate, s);
  if (fused && records_gradient({&s})) return Synthesis::apply(s, network_, noise);
  return synthesize(*network_, s, noise, nullptr);
}

}  // namespace styleclip
