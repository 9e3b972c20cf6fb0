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
#include <utility>

#include "questions.h"
#include "runtime/allocations.h"
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
  bool bends = false;           // a layer's end: its slope jumps at 0 and at the limit
  std::vector<Tensors> more{};  // leaves that are compared too, where the value is a number or few
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
    const at::ScalarType own = y.scalar_type(), wide = in[1].scalar_type();
    if (filters) y = at::conv2d(y, window.to(own), {}, at::IntArrayRef{1, 1}, at::IntArrayRef{1, 1}, {1, 1}, channels);
    const at::Tensor offset = ((noise.to(wide) + bias.to(wide).view({1, -1, 1, 1})) * kRoot).to(own);
    y = (y * (in[1] * kRoot).to(own).unsqueeze(2).unsqueeze(3)).add_(offset);
    return at::leaky_relu_(y, 0.2).clamp(-kLimit, kLimit);
  };
  return {filters ? "filter_styled_activate" : "styled_activate",
          shape_of(x),
          c10::toString(type),
          {x, gain},
          fused,
          plain,
          true};
}

Job resampling(const std::string& op, const at::Tensor& images, const Function& fused, const Function& plain) {
  return {op, shape_of(images), "Float", {images}, fused, plain};
}

Job loss(const Inputs& inputs, std::int64_t n) {
  const auto unit = [](const at::Tensor& rows) { return rows / rows.norm(2, -1, true).clamp_min(1e-12); };
  const at::Tensor text = inputs.normal({1, 512}), source = inputs.normal({n, 18, 512}), face = inputs.normal({n, 512});
  constexpr double kL2 = 0.008, kId = 0.005;
  const auto leaves = [&]() -> Tensors {
    return {inputs.normal({n, 512}), inputs.normal({n, 18, 512}), inputs.normal({n, 512})};
  };
  // Of one number the distance is chance: of 64.
  std::vector<Tensors> more;
  for (std::int64_t draw = 1; draw < 64 / n; ++draw) more.push_back(leaves());
  return {
      "edit_loss",
      std::to_string(n) + (n == 1 ? " latent" : " latents") + ", W+ of 18 × 512",
      "Float",
      leaves(),
      [=](const Tensors& in) { return edit_loss(in[0], text, in[1], source, in[2], face, 1, kL2, kId, false).total; },
      [=](const Tensors& in) {
        const at::ScalarType own = in[0].scalar_type();
        const at::Tensor clip = (1 - unit(in[0]).matmul(unit(text.to(own)).t())).mean(1);
        const at::Tensor id = 1 - (unit(in[2]) * unit(face.to(own))).sum(1);
        return clip + kL2 * (in[1] - source.to(own)).square().flatten(1).sum(1) + kId * id;
      },
      false,
      std::move(more)};
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
        return at::conv_transpose2d(in[0], window.to(in[0].scalar_type()), {}, at::IntArrayRef{2, 2},
                                    at::IntArrayRef{1, 1}, at::IntArrayRef{0, 0}, 3);
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

/// Of one tensor of the results: sums of squares, of the difference from float64 and of float64's own.
struct Squares {
  double apart = 0, exact = 0;
  double relative() const { return std::sqrt(apart / exact); }
};

void add_differences(std::vector<Squares>& sums, const Tensors& got, const Tensors& wanted) {
  sums.resize(got.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    sums[i].apart += (got[i].to(at::kDouble) - wanted[i]).square().sum().item<double>();
    sums[i].exact += wanted[i].square().sum().item<double>();
  }
}

/// Where the values of a layer's end lie on the same straight piece as float64's. A number beside a bend may be rounded
/// across it, and then its gradient is rightly another.
at::Tensor same_piece(const at::Tensor& got, const at::Tensor& exact) {
  const at::Tensor y = got.to(at::kDouble);
  return y.sign().eq(exact.sign()).logical_and(y.abs().ge(kLimit).eq(exact.abs().ge(kLimit)));
}

/// A layer's gradient above, without the numbers that either contender has on another piece than float64.
at::Tensor without_bends(const Job& job, const Tensors& exact_leaves, const at::Tensor& above) {
  const at::NoGradGuard guard;
  const at::Tensor exact = job.plain(exact_leaves);
  const at::Tensor ours = same_piece(job.fused(job.leaves), exact);
  return above * ours.logical_and(same_piece(job.plain(job.leaves), exact)).to(above.scalar_type());
}

/// An operator may be twice as far from float64 as the composition is: both round about as often, in other orders.
constexpr double kTimesAsFar = 2;

/// And as far as roundings alone take a sum of so many terms in float32, whose errors add up by the root of their number, and
/// that is rounded to `type`: libtorch may be exact by chance, and adds pairs of pairs.
double rounding(double terms, at::ScalarType type) {
  return 0x1p-24 * std::sqrt(terms) + (type == at::kBFloat16 ? 0x1p-8 : 0);
}

struct Distances {
  double fused = 0, plain = 0;  // the largest of value and gradients
};

/// How far both contenders are from the composition in float64, root mean square; throws where ours is too far.
Distances compare(const Job& job, at::Tensor& above) {
  std::vector<Squares> fused, plain;
  std::vector<double> least;
  const auto take = [&](const Tensors& leaves) {
    Tensors wide;
    for (const at::Tensor& leaf : leaves) wide.push_back(leaf.to(at::kDouble));
    if (job.bends) above = without_bends(job, wide, above);
    const Tensors wanted = both_ways(job.plain, wide, above.to(at::kDouble));
    const Tensors ours = both_ways(job.fused, leaves, above);
    add_differences(fused, ours, wanted);
    add_differences(plain, both_ways(job.plain, leaves, above), wanted);
    least.clear();
    for (const at::Tensor& tensor : ours) {
      const double terms = static_cast<double>(above.numel()) / static_cast<double>(tensor.numel());
      least.push_back(rounding(std::max(1.0, terms), tensor.scalar_type()));
    }
  };
  take(job.leaves);
  for (const Tensors& leaves : job.more) take(leaves);
  Distances largest;
  for (std::size_t i = 0; i < fused.size(); ++i) {
    const double own = fused[i].relative(), theirs = plain[i].relative();
    if (!(own <= std::max(kTimesAsFar * theirs, least[i]))) {
      const std::string what = i + 1 == fused.size() ? "the value" : "gradient " + std::to_string(i);
      throw Error(ErrorCode::Internal,
                  job.op + " " + job.shape + " " + job.type + ": " + what + " is " + std::to_string(own / theirs) +
                      " times as far from float64 as its composition's, " + std::to_string(1e9 * own) + " · 10⁻⁹.",
                  "Run styleclip_selfcheck, and report this.");
    }
    largest.fused = std::max(largest.fused, own);
    largest.plain = std::max(largest.plain, theirs);
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
  const Distances apart = compare(job, above);
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
          {"difference", apart.fused},
          {"plainDifference", apart.plain},
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
