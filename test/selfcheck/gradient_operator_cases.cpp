#include "gradient_operator_cases.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <sstream>

#include "running.h"
#include "styleclip/ops.h"
#include "styleclip/resampling.h"

namespace styleclip::selfcheck {
namespace {

using namespace cases::gradients;

class Runner {
 public:
  Runner(const Case& which, const Inputs& in, c10::Device device) : which_(which), in_(in), device_(device) {}

  Results run() {
    switch (which_.op) {
      case Op::kResample: return resampled();
      case Op::kEditLoss: return loss();
      default: return layer();
    }
  }

 private:
  at::Tensor put(const std::vector<float>& values, at::IntArrayRef shape) const {
    return at::tensor(values, at::kFloat).view(shape).to(device_);
  }
  at::Tensor leaf(const at::Tensor& x) const { return x.detach().requires_grad_(); }
  at::Tensor activations(const std::vector<float>& values, std::int64_t h, std::int64_t w) const {
    return put(values, {which_.n, h, w, which_.channels}).to(scalar_type(which_.type)).permute({0, 3, 1, 2});
  }
  static std::vector<float> from_activations(const at::Tensor& x) { return to_floats(x.permute({0, 2, 3, 1})); }

  Results layer() {
    const std::int64_t n = which_.n, channels = which_.channels, h = which_.h, w = which_.w;
    const std::int64_t more = which_.op == Op::kFilterStyledActivate ? 1 : 0;
    const at::Tensor x = leaf(activations(in_.x, h + more, w + more)), bias = leaf(put(in_.bias, {channels}));
    at::Tensor gain, noise;
    std::vector<at::Tensor> asked = {x, bias};
    if (which_.gain) asked.push_back(gain = leaf(put(in_.gain, {n, channels})));
    if (which_.noise == Noise::kShared) asked.push_back(noise = leaf(put(in_.noise, {h, w})));
    if (which_.noise == Noise::kEach) asked.push_back(noise = leaf(put(in_.noise, {n, h, w})));
    const at::Tensor y = more > 0 ? filter_styled_activate(x, put(in_.filter, {4}), gain, bias, noise, in_.limit)
                                  : styled_activate(x, gain, bias, noise, in_.limit);
    const std::vector<at::Tensor> got = torch::autograd::grad({y}, asked, {activations(in_.gradient, h, w)});
    Results results;
    results.y = from_activations(y);
    results.to_x = from_activations(got[0]);
    results.to_bias = to_floats(got[1]);
    std::size_t next = 2;
    if (gain.defined()) results.to_gain = to_floats(got[next++]);
    if (noise.defined()) results.to_noise = to_floats(got[next]);
    return results;
  }

  Results resampled() {
    const at::ScalarType type = scalar_type(which_.type);
    const at::Tensor images = leaf(put(in_.x, {which_.n, which_.channels, which_.h, which_.w}).to(type));
    const auto matrix = [&](const std::vector<float>& values, std::int64_t rows, std::int64_t columns) {
      const at::Tensor one = put(values, {rows, columns});
      return which_.transposed ? one.t().contiguous().t() : one;
    };
    const at::Tensor y =
        resample(images, matrix(in_.vertical, which_.to_h, which_.h), matrix(in_.horizontal, which_.to_w, which_.w));
    Results results;
    results.y = to_floats(y);
    const at::Tensor above = put(in_.gradient, {which_.n, which_.channels, which_.to_h, which_.to_w}).to(type);
    results.to_x = to_floats(torch::autograd::grad({y}, {images}, {above})[0]);
    return results;
  }

  Results loss() {
    const std::int64_t n = which_.n, dim = which_.channels, numbers = which_.h * which_.w;
    const at::Tensor embedding = leaf(put(in_.embedding, {n, dim})), latents = leaf(put(in_.latents, {n, numbers}));
    const at::Tensor text =
        which_.text_each ? put(in_.text, {n, which_.texts, dim}) : put(in_.text, {which_.texts, dim});
    at::Tensor identity, source_identity;
    std::vector<at::Tensor> asked = {embedding, latents};
    if (which_.faces > 0) {
      asked.push_back(identity = leaf(put(in_.identity, {n, which_.faces})));
      source_identity = put(in_.source_identity, {n, which_.faces});
    }
    const EditLoss got = edit_loss(embedding, text, latents, put(in_.source, {n, numbers}), identity, source_identity,
                                   in_.lambda_clip, in_.lambda_l2, in_.lambda_id, which_.mean);
    const std::vector<at::Tensor> gradients = torch::autograd::grad({got.total.sum()}, asked);
    Results results;
    results.total = to_floats(got.total);
    results.parts = to_floats(got.parts);
    results.to_embedding = to_floats(gradients[0]);
    results.to_latents = to_floats(gradients[1]);
    if (identity.defined()) results.to_identity = to_floats(gradients[2]);
    return results;
  }

  const Case& which_;
  const Inputs& in_;
  c10::Device device_;
};

/// Something to time: what it is called, what it moves, and the call.
struct Job {
  std::string shape, type;
  double bytes = 0;
  std::function<void()> call;
};

double bytes_of(const at::Tensor& x) { return static_cast<double>(x.numel()) * static_cast<double>(x.element_size()); }

std::string shape_of(const at::Tensor& x) {
  std::ostringstream text;
  text << x.sizes();
  return text.str();
}

Job layer_job(Op op, std::int64_t n, std::int64_t channels, std::int64_t r, at::ScalarType type, c10::Device device) {
  const at::TensorOptions floats = at::TensorOptions(device).dtype(at::kFloat);
  const std::int64_t more = op == Op::kFilterStyledActivate ? 1 : 0;
  const auto activations = [&](std::int64_t side) {
    return at::randn({n, side, side, channels}, floats.dtype(type)).permute({0, 3, 1, 2});
  };
  const at::Tensor x = activations(r + more).requires_grad_(), above = activations(r);
  const at::Tensor gain = (at::rand({n, channels}, floats) + 0.5).requires_grad_();
  const at::Tensor bias = at::randn({channels}, floats), noise = at::randn({r, r}, floats);
  const at::Tensor filter = at::tensor({0.25F, 0.75F, 0.75F, 0.25F}).to(device);
  // Forwards x and y; backwards y, its gradient and the gradient to x. Once each.
  return {shape_of(above), c10::toString(type), 2 * bytes_of(x) + 3 * bytes_of(above), [=] {
            const at::Tensor y = op == Op::kStyledActivate ? styled_activate(x, gain, bias, noise, 256)
                                                           : filter_styled_activate(x, filter, gain, bias, noise, 256);
            torch::autograd::grad({y}, {x, gain}, {above});
          }};
}

std::vector<Job> jobs(Op op, c10::Device device) {
  const bool small = device.is_cpu();
  const at::TensorOptions floats = at::TensorOptions(device).dtype(at::kFloat);
  std::vector<Job> all;
  if (op == Op::kResample) {
    for (const std::int64_t size : {256, 1024}) {
      const at::Tensor images = at::rand({small ? 1 : 8, 3, size, size}, floats).requires_grad_();
      const at::Tensor above = at::rand({images.size(0), 3, 224, 224}, floats);
      all.push_back({shape_of(images), "Float", 2 * bytes_of(images) + 2 * bytes_of(above),
                     [=] { torch::autograd::grad({bicubic_resample(images, 224, 224)}, {images}, {above}); }});
    }
  } else if (op == Op::kEditLoss) {
    const at::Tensor embedding = at::randn({8, 512}, floats).requires_grad_(), text = at::randn({1, 512}, floats);
    const at::Tensor latents = at::randn({8, 18, 512}, floats).requires_grad_(),
                     source = at::randn({8, 18, 512}, floats);
    const at::Tensor face = at::randn({8, 512}, floats).requires_grad_(), own = at::randn({8, 512}, floats);
    all.push_back({"8 latents", "Float", 5 * bytes_of(latents), [=] {
                     const EditLoss loss =
                         edit_loss(embedding, text, latents, source, face, own, 1, 0.008, 0.005, false);
                     torch::autograd::grad({loss.total.sum()}, {embedding, latents, face});
                   }});
  } else {
    for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
      for (const auto& [channels, r] : {std::pair<std::int64_t, std::int64_t>{512, 32}, {128, 256}, {32, 1024}}) {
        if (small && r > 256) continue;
        all.push_back(layer_job(op, small ? 1 : 8, channels, r, type, device));
      }
    }
  }
  return all;
}

}  // namespace

Outcome run_gradient_operator(Op op, const std::string& implementation, c10::Device device) {
  return run_cases<Case>(name(op), implementation, device, all_cases(op), [&](const Case& which) {
    const Inputs inputs = make_inputs(which, 7);
    return compare(which, inputs, Runner(which, inputs, device).run());
  });
}

std::vector<Timing> time_gradient_operator(Op op, const std::string& implementation, c10::Device device) {
  require_passed(run_gradient_operator(op, implementation, device));
  const Forced forced(name(op), implementation);
  std::vector<Timing> timings;
  for (const Job& job : jobs(op, device)) {
    const double milliseconds = median_milliseconds(device, job.call);
    timings.push_back({name(op), implementation, device.str(), job.shape, job.type, milliseconds, job.bytes});
  }
  return timings;
}

}  // namespace styleclip::selfcheck
