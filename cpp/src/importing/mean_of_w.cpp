// See mean_of_w.h.
#include "importing/mean_of_w.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rsqrt.h>

#include <cmath>

#include "importing/conversion.h"
#include "runtime/philox.h"

namespace styleclip::importing {

at::Tensor mean_of_w(const TensorMap& decoder) {
  constexpr std::int64_t kWidest = 4096;  // as a generator's configuration allows; what is computed here stays small
  constexpr double kMultiplier = 0.01;    // files under rosinality's names do not record another
  if (!decoder.contains("style.1.weight")) {
    refuse(
        "The encoder adds the mean of w ('opts.start_from_latent_avg'), but the checkpoint has neither 'latent_avg' "
        "nor "
        "a decoder to compute it from.",
        "Give the checkpoint as its training saved it.");
  }
  const auto checked = [](std::int64_t width) {
    if (width < 1 || width > kWidest)
      refuse("A layer of the decoder's mapping is " + std::to_string(width) + " wide.", "Give a whole checkpoint.");
    return width;
  };
  const std::int64_t width = checked(size_of(decoder, "style.1.weight", 1));
  at::Tensor w = at::empty({kMeanSamples, width}, at::kFloat);
  for (std::int64_t i = 0; i < kMeanSamples; ++i) {
    philox_normal(w.data_ptr<float>() + i * width, width, 0, static_cast<std::uint32_t>(PhiloxStream::Z),
                  static_cast<std::uint64_t>(i));
  }
  w = w * at::rsqrt(w.square().mean({1}, true) + 1e-8);
  for (std::int64_t i = 1;; ++i) {
    const std::string name = "style." + std::to_string(i);
    const auto weight = decoder.find(name + ".weight"), bias = decoder.find(name + ".bias");
    if (weight == decoder.end() || bias == decoder.end()) break;
    const std::int64_t inputs = w.size(1), outputs = checked(size_of(decoder, name + ".weight", 0));
    const bool fits = weight->second.sizes() == at::IntArrayRef({outputs, inputs}) &&
                      bias->second.sizes() == at::IntArrayRef({outputs});
    if (!fits) refuse("'decoder." + name + "' does not fit the layer before it.", "Give a whole checkpoint.");
    const at::Tensor used = weight->second.to(at::kFloat) * (kMultiplier / std::sqrt(static_cast<double>(inputs)));
    w = at::leaky_relu(at::linear(w, used, bias->second.to(at::kFloat) * kMultiplier), 0.2) * std::sqrt(2.0);
  }
  return w.mean({0});
}

}  // namespace styleclip::importing
