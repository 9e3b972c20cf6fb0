#include "sweep_operator_cases.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "running.h"
#include "styleclip/ops.h"

namespace styleclip::selfcheck {
namespace {

using namespace cases::sweep;

/// An operator's arguments on a device; undefined where it does not take one.
struct Arguments {
  at::Tensor y, planes, taps, linear, steps, gains, t, filter, x, kernel, bias, noise, weight, rgb_bias, matrix, canvas,
      mean, deviation;
  double limit = 0, rgb_limit = 0;
  bool keep = true;
  std::int64_t patch = 0;
};

void call(Op op, Arguments& a) {
  switch (op) {
    case Op::kPerturbChannels:
      return perturb_channels(a.planes, a.taps, a.linear, a.steps, a.gains, a.bias, a.noise, a.limit, a.y);
    case Op::kActivate: return activate(a.y, a.bias, a.noise, a.limit);
    case Op::kFilterActivate: return filter_activate(a.t, a.filter, a.bias, a.noise, a.limit, a.y);
    case Op::kAddToCanvas: return add_to_canvas(a.y, a.weight, a.rgb_bias, a.rgb_limit, a.matrix, a.canvas);
    case Op::kActivateToCanvas:
      return activate_to_canvas(a.y, a.bias, a.noise, a.limit, a.weight, a.rgb_bias, a.rgb_limit, a.matrix, a.canvas,
                                a.keep);
    case Op::kConvolveToCanvas:
      return convolve_to_canvas(a.x, a.kernel, a.bias, a.noise, a.limit, a.weight, a.rgb_bias, a.rgb_limit, a.matrix,
                                a.canvas, a.keep ? a.y : at::Tensor());
    case Op::kClipInput: return clip_input(a.canvas, a.mean, a.deviation, a.patch, a.y);
  }
}

Arguments to_device(const Case& which, const Inputs& in, c10::Device device) {
  const std::int64_t n = which.n, channels = which.channels, r = which.r, side = canvas_side(which);
  const auto put = [&](const std::vector<float>& values, at::IntArrayRef shape) {
    return values.empty() && which.n > 0 ? at::Tensor() : at::tensor(values, at::kFloat).view(shape).to(device);
  };
  const auto typed_last = [&](const std::vector<float>& values, at::IntArrayRef shape) {
    return at::tensor(values, at::kFloat).view(shape).to(scalar_type(which.type)).to(device).permute({0, 3, 1, 2});
  };
  const auto activations = [&](const std::vector<float>& values, std::int64_t pictures, std::int64_t size) {
    return typed_last(values, {pictures, size, size, channels});
  };
  Arguments a;
  const at::TensorOptions typed = at::TensorOptions(device).dtype(scalar_type(which.type));
  if (which.op == Op::kClipInput) {
    const std::int64_t across = which.patch > 0 ? r / which.patch : 0;
    a.y = which.patch > 0 ? at::full({n, across * across, 3 * which.patch * which.patch}, NAN, typed)
                          : at::full({n, 3, r, r}, NAN, typed);
    a.canvas = put(in.canvas, {n, 3, r, r});
    a.mean = put(in.mean, {3});
    a.deviation = put(in.deviation, {3});
    a.patch = which.patch;
    return a;
  }
  const std::int64_t pictures = (which.op == Op::kPerturbChannels ? 2 : 1) * n;
  a.y = in.y.empty() && n > 0 ? at::full({pictures, r, r, channels}, NAN, typed).permute({0, 3, 1, 2})
                              : activations(in.y, pictures, r);
  if (which.op == Op::kPerturbChannels) {
    a.planes = put(in.planes, {n, r + 2, r + 2});
    a.taps = put(in.taps, {n, 9, channels});
    a.linear = put(in.linear, {r * r, channels});
    a.steps = put(in.steps, {2, n});
    a.gains = put(in.gains, {2, n, channels});
  }
  if (which.op == Op::kFilterActivate) {
    a.t = activations(in.t, n, r + 1);
    a.filter = put(in.filter, {4});
  }
  if (which.op == Op::kConvolveToCanvas) {
    a.x = typed_last(in.x, {n, r, r, which.inputs});
    a.kernel = typed_last(in.kernel, {channels, 3, 3, which.inputs});
  }
  if (which.op != Op::kAddToCanvas) {
    a.bias = put(in.bias, {channels});
    if (which.noise) a.noise = put(in.noise, {r, r});
  }
  if (cases::sweep::to_canvas(which.op)) {
    a.weight = put(in.weight, {3, channels});
    a.rgb_bias = put(in.rgb_bias, {3});
    if (!in.matrix.empty()) a.matrix = put(in.matrix, {side, r});
    a.canvas = put(in.canvas, {n, 3, side, side});
  }
  a.limit = in.limit;
  a.rgb_limit = in.rgb_limit;
  a.keep = which.keep;
  return a;
}

std::string run_case(const Case& which, const std::string& implementation, c10::Device device) {
  const Inputs inputs = make_inputs(which, 7);
  Arguments arguments = to_device(which, inputs, device);
  call(which.op, arguments);
  const at::Tensor y =
      arguments.y.dim() == 4 && which.op != Op::kClipInput ? arguments.y.permute({0, 2, 3, 1}) : arguments.y;
  // The reference multiplies by the whole matrix.
  const Zeros zeros = implementation == "reference" ? Zeros::kMultiplied : Zeros::kSkipped;
  return compare(which, inputs, {to_floats(y), to_floats(arguments.canvas)}, zeros);
}

/// A layer's size, and how many pictures (or style channels) at once.
struct Size {
  std::int64_t n, channels, r;
};

/// Random arguments on the device itself: a table of cases would take minutes to make at these sizes.
Arguments random_arguments(Op op, const Size& size, at::ScalarType type, std::int64_t canvas, c10::Device device) {
  const at::TensorOptions floats = at::TensorOptions(device).dtype(at::kFloat);
  const auto random = [&](at::IntArrayRef shape) { return at::randn(shape, floats); };
  const auto activations = [&](std::int64_t pictures, std::int64_t r) {
    return at::randn({pictures, r, r, size.channels}, floats.dtype(type)).permute({0, 3, 1, 2});
  };
  const std::int64_t n = size.n, channels = size.channels, r = size.r;
  Arguments a;
  a.limit = a.rgb_limit = 256;
  a.keep = false;
  if (op == Op::kClipInput) {
    a.patch = 32;
    a.canvas = random({n, 3, canvas, canvas});
    a.y = at::empty({n, (canvas / 32) * (canvas / 32), 3 * 32 * 32}, floats.dtype(type));
    a.mean = random({3});
    a.deviation = random({3}).abs() + 0.1;
    return a;
  }
  if (op == Op::kPerturbChannels) {
    a.planes = random({n, r + 2, r + 2});
    a.taps = random({n, 9, channels});
    a.linear = random({r * r, channels});
    a.steps = random({2, n});
    a.gains = random({2, n, channels});
  }
  if (op == Op::kFilterActivate) {
    a.t = activations(n, r + 1);
    a.filter = random({4});
  }
  a.y = activations(op == Op::kPerturbChannels ? 2 * n : n, r);
  a.bias = random({channels});
  a.noise = random({r, r});
  if (cases::sweep::to_canvas(op)) {
    a.weight = random({3, channels});
    a.rgb_bias = random({3});
    // As an antialiased cubic has it: a band four source steps wide around the diagonal.
    const double step = static_cast<double>(r) / static_cast<double>(canvas);
    const at::Tensor centers = (at::arange(canvas, floats) + 0.5) * step;
    const at::Tensor distance = (at::arange(r, floats) + 0.5).unsqueeze(0) - centers.unsqueeze(1);
    a.matrix = (2 * std::max(step, 1.0) - distance.abs()).clamp_min(0);
    a.matrix = a.matrix / a.matrix.sum(1, true);
    a.canvas = at::zeros({n, 3, canvas, canvas}, floats);
  }
  return a;
}

double bytes_moved(Op op, const Arguments& a) {
  const auto bytes = [](const at::Tensor& x) {
    return static_cast<double>(x.numel()) * static_cast<double>(x.element_size());
  };
  switch (op) {
    case Op::kPerturbChannels: return bytes(a.y) + bytes(a.linear);
    case Op::kActivate: return 2 * bytes(a.y);
    case Op::kFilterActivate: return bytes(a.t) + bytes(a.y);
    case Op::kAddToCanvas:
    case Op::kActivateToCanvas: return bytes(a.y) + 2 * bytes(a.canvas);
    case Op::kConvolveToCanvas: break;
    case Op::kClipInput: return bytes(a.canvas) + bytes(a.y);
  }
  return 0;
}

}  // namespace

Outcome run_sweep_operator(Op op, const std::string& implementation, c10::Device device) {
  return run_cases<Case>(name(op), implementation, device, all_cases(op),
                         [&](const Case& which) { return run_case(which, implementation, device); });
}

std::vector<Timing> time_sweep_operator(Op op, const std::string& implementation, c10::Device device) {
  require_passed(run_sweep_operator(op, implementation, device));
  // Not memory but the matrix product is what limits it: `styleclip_bench stages` times it.
  if (op == Op::kConvolveToCanvas) return {};
  const bool small = device.is_cpu();
  // Layers of config-f at 1024 px, which take most of the time; perturb_channels' n counts style channels.
  std::vector<Size> sizes = small ? std::vector<Size>{{2, 64, 128}, {2, 32, 256}}
                                  : std::vector<Size>{{64, 512, 32}, {64, 256, 128}, {16, 64, 512}, {16, 32, 1024}};
  if (op == Op::kClipInput) sizes = {{small ? 8 : 512, 3, 224}};
  std::vector<Timing> timings;
  for (const Size& size : sizes) {
    for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
      Arguments arguments = random_arguments(op, size, type, 224, device);
      const Forced forced(name(op), implementation);
      const double milliseconds = median_milliseconds(device, [&] { call(op, arguments); });
      std::ostringstream shape;
      shape << "[" << size.n << ", " << size.channels << ", " << size.r << ", " << size.r << "]";
      timings.push_back({name(op), implementation, device.str(), shape.str(), c10::toString(type), milliseconds,
                         bytes_moved(op, arguments)});
    }
  }
  return timings;
}

}  // namespace styleclip::selfcheck
