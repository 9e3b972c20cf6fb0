// What the operators with gradients are worth: each against the plain composition of libtorch's operators, forwards and
// backwards together, in turns. Values and gradients are compared first. The compositions are those of the archives and of
// the released code: the layers' ends with √2 folded into gain and offset, in place where autograd lets them.
#include <ATen/TensorOperators.h>
#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "allocations.h"
#include "questions.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"
#include "timing.h"

namespace styleclip::bench {
namespace {

using nlohmann::ordered_json;
using Tensors = std::vector<at::Tensor>;
using Function = std::function<at::Tensor(const Tensors&)>;

constexpr double kRoot = 1.4142135623730951;
constexpr double kLimit = 256;

struct Job {
  std::string op, shape, type;
  Tensors leaves;  // asking for a gradient
  Function fused, plain;
};

std::string shape_of(const at::Tensor& x) {
  std::string text;
  for (const std::int64_t size : x.sizes()) text += (text.empty() ? "" : " × ") + std::to_string(size);
  return text;
}

/// Made anew for every run: a composition in place may write over its input.
struct Inputs {
  explicit Inputs(at::Device device) : floats(at::TensorOptions(device).dtype(at::kFloat)) {}
  at::Tensor normal(at::IntArrayRef shape) const { return at::randn(shape, floats); }
  at::Tensor picture(std::int64_t n, std::int64_t size) const { return at::rand({n, 3, size, size}, floats) * 2 - 1; }
  at::TensorOptions floats;
};

Job layer(const Inputs& inputs, bool filters, std::int64_t channels, std::int64_t r, at::ScalarType type) {
  const std::int64_t more = filters ? 1 : 0;
  const at::Tensor x =
      inputs.normal({1, channels, r + more, r + more}).to(type).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor gain = inputs.normal({1, channels}).abs() + 0.5, bias = inputs.normal({channels});
  const at::Tensor noise = inputs.normal({r, r}), line = at::tensor({0.25, 0.75, 0.75, 0.25}, inputs.floats);
  const at::Tensor window = at::outer(line, line).repeat({channels, 1, 1, 1});
  const Function fused = [=](const Tensors& in) {
    return filters ? filter_styled_activate(in[0], line, in[1], bias, noise, kLimit)
                   : styled_activate(in[0], in[1], bias, noise, kLimit);
  };
  const Function plain = [=](const Tensors& in) {
    at::Tensor y = in[0];
    const at::ScalarType own = y.scalar_type();
    if (filters) y = at::conv2d(y, window.to(own), {}, at::IntArrayRef{1, 1}, at::IntArrayRef{1, 1}, {1, 1}, channels);
    const at::Tensor offset = ((noise + bias.view({1, -1, 1, 1})) * kRoot).to(own);
    y = (y * (in[1] * kRoot).to(own).unsqueeze(2).unsqueeze(3)).add_(offset);
    return at::leaky_relu_(y, 0.2).clamp(-kLimit, kLimit);
  };
  return {filters ? "filter_styled_activate" : "styled_activate",
          shape_of(x),
          c10::toString(type),
          {x, gain},
          fused,
          plain};
}

Job resampling(const std::string& op, const at::Tensor& images, const Function& fused, const Function& plain) {
  return {op, shape_of(images), "Float", {images}, fused, plain};
}

Job loss(const Inputs& inputs, std::int64_t n) {
  const auto unit = [](const at::Tensor& rows) { return rows / rows.norm(2, -1, true).clamp_min(1e-12); };
  const at::Tensor text = inputs.normal({1, 512}), source = inputs.normal({n, 18, 512}), face = inputs.normal({n, 512});
  constexpr double kL2 = 0.008, kId = 0.005;
  return {
      "edit_loss",
      std::to_string(n) + (n == 1 ? " latent" : " latents") + ", W+ of 18 × 512",
      "Float",
      {inputs.normal({n, 512}), inputs.normal({n, 18, 512}), inputs.normal({n, 512})},
      [=](const Tensors& in) { return edit_loss(in[0], text, in[1], source, in[2], face, 1, kL2, kId, false).total; },
      [=](const Tensors& in) {
        const at::Tensor clip = (1 - unit(in[0]).matmul(unit(text).t())).mean(1);
        const at::Tensor id = 1 - (unit(in[2]) * unit(face)).sum(1);
        return clip + kL2 * (in[1] - source).square().flatten(1).sum(1) + kId * id;
      }};
}

std::vector<Job> jobs_of(at::Device device) {
  const Inputs inputs(device);
  std::vector<Job> jobs;
  for (const bool filters : {false, true}) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      for (const auto& [channels, r] : {std::pair<std::int64_t, std::int64_t>{512, 32}, {512, 64}, {128, 256}}) {
        jobs.push_back(layer(inputs, filters, channels, r, type));
      }
    }
  }
  for (const std::int64_t size : {256, 1024}) {
    jobs.push_back(resampling(
        "clip_resample", inputs.picture(1, size), [](const Tensors& in) { return clip_resample(in[0], 224); },
        [size](const Tensors& in) {
          return at::avg_pool2d(at::upsample_nearest2d(in[0], {7 * size, 7 * size}), {size / 32, size / 32});
        }));
  }
  jobs.push_back(resampling(
      "bicubic_resample", inputs.picture(1, 1024), [](const Tensors& in) { return bicubic_resample(in[0], 224, 224); },
      [](const Tensors& in) { return at::_upsample_bicubic2d_aa(in[0], {224, 224}, false); }));
  jobs.push_back(resampling(
      "face_crop_resample", inputs.picture(1, 1024), [](const Tensors& in) { return face_crop_resample(in[0], 112); },
      [](const Tensors& in) {
        const at::Tensor aligned = at::adaptive_avg_pool2d(in[0], {256, 256}).narrow(2, 35, 188).narrow(3, 32, 188);
        return at::adaptive_avg_pool2d(aligned, {112, 112});
      }));
  const at::Tensor line = at::tensor({0.25, 0.75, 0.75, 0.25}, inputs.floats);
  const at::Tensor window = at::outer(line, line).repeat({3, 1, 1, 1});
  jobs.push_back(resampling(
      "upsample_picture", inputs.picture(1, 512), [](const Tensors& in) { return upsample_picture(in[0]); },
      [window](const Tensors& in) {
        return at::conv_transpose2d(in[0], window, {}, at::IntArrayRef{2, 2}, at::IntArrayRef{1, 1},
                                    at::IntArrayRef{0, 0}, 3);
      }));
  for (const std::int64_t n : {1, 8}) jobs.push_back(loss(inputs, n));
  return jobs;
}

/// The value and the gradients to the leaves, with a fixed gradient above.
Tensors both_ways(const Function& function, const Tensors& leaves, const at::Tensor& above) {
  Tensors inputs;
  for (const at::Tensor& leaf : leaves) inputs.push_back(leaf.detach().requires_grad_());
  const at::Tensor y = function(inputs);
  Tensors all = torch::autograd::grad({y}, inputs, {above});
  all.push_back(y.detach());
  return all;
}

/// The largest root mean square difference of a value or gradient from what is wanted, beside its root mean square.
double difference(const Tensors& got, const Tensors& wanted) {
  double largest = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const at::Tensor exact = wanted[i].to(at::kDouble);
    const double apart = (got[i].to(at::kDouble) - exact).square().mean().item<double>();
    largest = std::max(largest, std::sqrt(apart / exact.square().mean().item<double>()));
  }
  return largest;
}

ordered_json side(const std::vector<double>& seconds, const Allocations& allocations) {
  return {{"milliseconds", 1e3 * median(seconds)},
          {"allocations", allocations.count},
          {"allocatedBytes", allocations.bytes},
          {"peakBytes", allocations.peak}};
}

ordered_json measure(const Job& job, at::Device device, std::int64_t turns) {
  at::Tensor above;
  {
    const at::NoGradGuard guard;
    above = at::randn_like(job.fused(job.leaves));
  }
  // A number beside the kink may be rounded across it, and then its gradient is another: one among eight million makes
  // 3e-4. In bfloat16 that is common: there ours may be twice as far from float32 as the composition.
  Tensors wide;
  for (const at::Tensor& leaf : job.leaves) wide.push_back(leaf.to(at::kFloat));
  const Tensors wanted = both_ways(job.plain, wide, above.to(at::kFloat));
  const double apart = difference(both_ways(job.fused, job.leaves, above), wanted);
  const double plain_apart = difference(both_ways(job.plain, job.leaves, above), wanted);
  if (!(apart <= std::max(1e-3, 2 * plain_apart))) {
    throw Error(ErrorCode::Internal,
                job.op + " " + job.shape + " is " + std::to_string(apart) + " from its composition.",
                "Run styleclip_selfcheck, and report this.");
  }
  std::vector<double> fused, plain, ratios;
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    fused.push_back(typical_seconds(device, [&] { both_ways(job.fused, job.leaves, above); }));
    plain.push_back(typical_seconds(device, [&] { both_ways(job.plain, job.leaves, above); }));
    ratios.push_back(plain.back() / fused.back());
  }
  const Allocations ours = allocations_of(device, [&] { both_ways(job.fused, job.leaves, above); });
  const Allocations theirs = allocations_of(device, [&] { both_ways(job.plain, job.leaves, above); });
  return {{"op", job.op},
          {"shape", job.shape},
          {"type", job.type},
          {"difference", apart},
          {"fused", side(fused, ours)},
          {"plain", side(plain, theirs)},
          {"timesAsFast", spread(ratios)}};
}

}  // namespace

ordered_json answer_operators(const Arguments& arguments) {
  const at::Device device(arguments.text("device"));
  const std::int64_t turns = std::max<std::int64_t>(1, arguments.number("turns"));
  ordered_json operators = ordered_json::array();
  for (const Job& job : jobs_of(device)) operators.push_back(measure(job, device, turns));
  return {{"operators", operators}};
}

}  // namespace styleclip::bench
