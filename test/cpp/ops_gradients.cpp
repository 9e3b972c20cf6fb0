// The ends of layers with gradients, styled_activate and filter_styled_activate: reference and CPU implementation against
// finite differences and against libtorch's autograd through the plain composition; what asks for no gradient, what lies
// elsewhere in memory, what is clamped, empty or not a number; refusals.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "forced.h"
#include "gradients_fixture.h"
#include "refusals.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace {

using gradients::Function;
using gradients::Tensors;
using refusals::code_of;
using styleclip::ErrorCode;

constexpr double kNone = std::numeric_limits<double>::infinity();

enum class Noise { kNone, kShared, kEach };

struct Case {
  bool filters;
  std::int64_t n, channels, h, w;
  bool gain = true;
  Noise noise = Noise::kShared;
  double limit = kNone;
};

const std::vector<Case> kCases = {
    {false, 1, 1, 1, 1},
    {false, 1, 1, 3, 5, true, Noise::kNone},
    {false, 2, 3, 5, 4, true, Noise::kShared, 1.5},
    {false, 3, 7, 3, 3, false, Noise::kEach},
    {false, 2, 16, 4, 4, true, Noise::kEach, 2},
    {false, 1, 5, 2, 7, false, Noise::kNone, 0.7},
    {true, 1, 1, 1, 1},
    {true, 1, 1, 4, 6, true, Noise::kNone},
    {true, 2, 3, 5, 4, true, Noise::kShared, 1.5},
    {true, 3, 7, 3, 3, false, Noise::kEach},
    {true, 2, 16, 4, 4, true, Noise::kEach, 2},
    {true, 1, 5, 2, 7, false, Noise::kNone, 0.7},
};
// Too large for finite differences: many rows, so that the CPU's blocks of rows meet; and no pictures at all.
const std::vector<Case> kLargeCases = {
    {false, 2, 48, 37, 29, true, Noise::kShared, 2},
    {false, 3, 33, 64, 31, true, Noise::kEach},
    {false, 0, 4, 3, 3},
    {false, 2, 4, 0, 3},
    {true, 2, 48, 37, 29, true, Noise::kShared, 2},
    {true, 3, 33, 64, 31, true, Noise::kEach},
    {true, 0, 4, 3, 3},
    {true, 2, 4, 0, 3},
};

std::string op_of(const Case& which) { return which.filters ? "filter_styled_activate" : "styled_activate"; }

std::string text(const Case& which) {
  return op_of(which) + " [" + std::to_string(which.n) + ", " + std::to_string(which.channels) + ", " +
         std::to_string(which.h) + ", " + std::to_string(which.w) + "]" + (which.gain ? ", gain" : "") + ", noise " +
         std::to_string(static_cast<int>(which.noise)) + ", limit " + std::to_string(which.limit);
}

at::Tensor filter_of(at::ScalarType type) { return at::tensor({0.3, 0.8, 0.7, 0.2}, at::kDouble).to(type); }

/// x or t, gain, bias, noise.
Tensors inputs_of(const Case& which) {
  const std::int64_t more = which.filters ? 1 : 0;
  Tensors inputs(4);
  inputs[0] = at::randn({which.n, which.channels, which.h + more, which.w + more}, at::kDouble);
  if (which.gain) inputs[1] = at::rand({which.n, which.channels}, at::kDouble) + 0.5;
  inputs[2] = at::randn({which.channels}, at::kDouble);
  if (which.noise == Noise::kShared) inputs[3] = at::randn({which.h, which.w}, at::kDouble);
  if (which.noise == Noise::kEach) inputs[3] = at::randn({which.n, which.h, which.w}, at::kDouble);
  return inputs;
}

Function fused(const Case& which) {
  return [which](const Tensors& in) {
    if (!which.filters) return styleclip::styled_activate(in[0], in[1], in[2], in[3], which.limit);
    const at::ScalarType type = in[0].scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    return styleclip::filter_styled_activate(in[0], filter_of(type), in[1], in[2], in[3], which.limit);
  };
}

/// As a StyleGAN2 implementation out of libtorch's operators has it.
Function plain(const Case& which) {
  return [which](const Tensors& in) {
    at::Tensor x = in[0];
    if (which.filters) {
      const at::Tensor line = filter_of(x.scalar_type());
      const std::int64_t channels = x.size(1);
      const at::Tensor padded = at::constant_pad_nd(x, {1, 1, 1, 1});
      x = x.numel() == 0 || which.h == 0 ? x.slice(2, 0, which.h).slice(3, 0, which.w)
                                         : at::conv2d(padded, at::outer(line, line).expand({channels, 1, 4, 4}), {}, 1,
                                                      at::IntArrayRef{0}, 1, channels);
    }
    if (in[1].defined()) x = x * in[1].unsqueeze(2).unsqueeze(3);
    if (in[3].defined()) x = x + (in[3].dim() == 3 ? in[3].unsqueeze(1) : in[3]);
    x = at::leaky_relu(x + in[2].view({1, -1, 1, 1}), 0.2) * std::sqrt(2.0);
    return std::isfinite(which.limit) ? at::clamp(x, -which.limit, which.limit) : x;
  };
}

TEST_CASE("the ends of layers have the gradients of their plain composition and of finite differences") {
  at::manual_seed(11);
  for (const Case& which : kCases) {
    const Tensors inputs = inputs_of(which);
    for (const std::string name : {"reference", "cpu"}) {
      CAPTURE(text(which));
      CAPTURE(name);
      const Forced forced(op_of(which), name);
      gradients::check_double(fused(which), plain(which), inputs, true);
    }
  }
}

TEST_CASE("the ends of layers over larger tensors, and over none") {
  at::manual_seed(12);
  for (const Case& which : kLargeCases) {
    const Tensors inputs = inputs_of(which);
    for (const std::string name : {"reference", "cpu"}) {
      CAPTURE(text(which));
      CAPTURE(name);
      const Forced forced(op_of(which), name);
      gradients::check_double(fused(which), plain(which), inputs, false);
    }
  }
}

TEST_CASE("the ends of layers in float32, float16 and bfloat16") {
  at::manual_seed(13);
  for (const std::vector<Case>* table : {&kCases, &kLargeCases}) {
    for (const Case& which : *table) {
      const Tensors inputs = inputs_of(which);
      for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
        for (const std::string name : {"reference", "cpu"}) {
          CAPTURE(text(which));
          CAPTURE(name);
          CAPTURE(c10::toString(type));
          const Forced forced(op_of(which), name);
          gradients::check_narrow(fused(which), plain(which), inputs, type);
        }
      }
    }
  }
}

TEST_CASE("the ends of layers take tensors as they lie, and gradients as they come") {
  at::manual_seed(14);
  for (const bool filters : {false, true}) {
    const Case which{filters, 2, 5, 4, 6, true, Noise::kEach, 2};
    const Tensors dense = inputs_of(which);
    Tensors odd = dense;
    odd[0] = at::randn({2, 10, dense[0].size(3), dense[0].size(2)}, at::kDouble).slice(1, 0, 10, 2).transpose(2, 3);
    odd[0].copy_(dense[0]);
    odd[1] = dense[1].t().contiguous().t();
    odd[2] = at::randn({10}, at::kDouble).slice(0, 0, 10, 2);
    odd[2].copy_(dense[2]);
    odd[3] = dense[3].transpose(1, 2).contiguous().transpose(1, 2);
    for (const std::string name : {"reference", "cpu"}) {
      CAPTURE(filters);
      CAPTURE(name);
      const Forced forced(op_of(which), name);
      const at::Tensor ones = at::ones({1}, at::kDouble).expand({2, 5, 4, 6});
      const auto one = gradients::derive(fused(which), dense, ones), other = gradients::derive(fused(which), odd, ones);
      CHECK(at::equal(one.value, other.value));
      CHECK(one.value.is_contiguous(at::MemoryFormat::ChannelsLast));
      for (std::size_t i = 0; i < 4; ++i) CHECK(at::equal(one.gradients[i], other.gradients[i]));
    }
  }
}

TEST_CASE("only the gradients that are asked for are there, and no second ones") {
  at::manual_seed(15);
  for (const bool filters : {false, true}) {
    const Case which{filters, 2, 3, 4, 4};
    for (std::size_t asked = 0; asked < 4; ++asked) {
      Tensors inputs = inputs_of(which);
      inputs[asked].requires_grad_();
      const at::Tensor y = fused(which)(inputs);
      REQUIRE(y.requires_grad());
      const Tensors all = torch::autograd::grad({y.sum()}, {inputs[asked]});
      CHECK(all[0].sizes() == inputs[asked].sizes());
      CHECK(all[0].abs().sum().item<double>() > 0);
      const at::Tensor again = fused(which)(inputs);
      CHECK(code_of([&] { (void)torch::autograd::grad({again.sum()}, {inputs[asked]}, {}, true, true); }) ==
            ErrorCode::Argument);
    }
    const Tensors inputs = inputs_of(which);
    CHECK_FALSE(fused(which)(inputs).requires_grad());
    const c10::InferenceMode guard;
    CHECK(fused(which)(inputs).sizes() == at::IntArrayRef{2, 3, 4, 4});
  }
}

TEST_CASE("the operators have gradients when the dispatcher calls them by name") {
  const Case which{false, 1, 2, 3, 3};
  at::manual_seed(16);
  Tensors inputs = inputs_of(which);
  inputs[0].requires_grad_();
  const auto op = c10::Dispatcher::singleton()
                      .findSchemaOrThrow("styleclip::styled_activate", "")
                      .typed<at::Tensor(const at::Tensor&, const std::optional<at::Tensor>&, const at::Tensor&,
                                        const std::optional<at::Tensor>&, double)>();
  const at::Tensor y = op.call(inputs[0], inputs[1], inputs[2], inputs[3], kNone);
  CHECK(at::equal(y, fused(which)(inputs)));
  CHECK(torch::autograd::grad({y.sum()}, {inputs[0]})[0].abs().sum().item<double>() > 0);
}

TEST_CASE("planted: the slope is y's, a clamped element has no gradient, zero has the slope below") {
  const at::Tensor x = at::tensor({-2.0, -0.5, 0.0, 0.5, 2.0}, at::kDouble).view({1, 1, 1, 5}).requires_grad_();
  const double root = std::sqrt(2.0);
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced forced("styled_activate", name);
    const at::Tensor y = styleclip::styled_activate(x, {}, at::zeros({1}, at::kDouble), {}, 1);
    const at::Tensor slopes = torch::autograd::grad({y.sum()}, {x})[0].flatten();
    CHECK(at::allclose(y.detach().flatten(), at::tensor({-0.4 * root, -0.1 * root, 0.0, 0.5 * root, 1.0}, at::kDouble),
                       1e-14));
    CHECK(at::allclose(slopes, at::tensor({0.2 * root, 0.2 * root, 0.2 * root, root, 0.0}, at::kDouble), 1e-14));
  }
}

TEST_CASE("NaN stays where it is, and infinity from above does not pass a clamped element") {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
    for (const std::string name : {"reference", "cpu"}) {
      CAPTURE(name);
      CAPTURE(c10::toString(type));
      const Forced one("styled_activate", name), two("filter_styled_activate", name);
      const at::ScalarType companion = type == at::kDouble ? at::kDouble : at::kFloat;
      at::Tensor x = at::ones({1, 2, 2, 2}, type);
      x[0][1][0][1] = NAN;
      x[0][0][0][0] = 100;
      const at::Tensor leaf = x.requires_grad_();
      const at::Tensor y = styleclip::styled_activate(leaf, {}, at::zeros({2}, companion), {}, 2);
      CHECK(std::isnan(y[0][1][0][1].item<double>()));
      CHECK(at::isnan(y).sum().item<std::int64_t>() == 1);
      at::Tensor above = at::ones({1, 2, 2, 2}, type);
      above[0][0][0][0] = INFINITY;
      const at::Tensor to_x = torch::autograd::grad({y}, {leaf}, {above})[0];
      CHECK(to_x[0][0][0][0].item<double>() == 0);
      CHECK(at::isfinite(to_x).sum().item<std::int64_t>() >= 7);
      at::Tensor t = at::ones({1, 1, 6, 6}, type);
      t[0][0][1][1] = NAN;
      const at::Tensor z =
          styleclip::filter_styled_activate(t, filter_of(companion), {}, at::zeros({1}, companion), {}, 2);
      CHECK(at::isnan(z).sum().item<std::int64_t>() == 9);  // rows and columns -1 to 2 of the window, where they exist
    }
  }
}

TEST_CASE("the gradient to a gain of zero is NaN, since x is lost, and all other gradients are right") {
  at::manual_seed(18);
  for (const bool filters : {false, true}) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      const Case which{filters, 2, 3, 4, 5, true, Noise::kShared, 2};
      Tensors inputs = inputs_of(which);
      inputs[1][1][2] = 0;
      for (at::Tensor& input : inputs) input = input.to(type);
      const at::Tensor weights = at::randn({2, 3, 4, 5}, type);
      const gradients::Derived wanted = gradients::derive(plain(which), inputs, weights);
      for (const std::string name : {"reference", "cpu"}) {
        CAPTURE(filters);
        CAPTURE(name);
        const Forced forced(op_of(which), name);
        gradients::Derived got = gradients::derive(fused(which), inputs, weights);
        CHECK(std::isnan(got.gradients[1][1][2].item<double>()));
        got.gradients[1][1][2] = wanted.gradients[1][1][2];
        const double most = type == at::kDouble ? 1e-12 : 1e-5;
        CHECK(gradients::apart(got.value, wanted.value) <= most);
        for (std::size_t i = 0; i < 4; ++i) CHECK(gradients::apart(got.gradients[i], wanted.gradients[i]) <= most);
      }
    }
  }
}

TEST_CASE("the CPU implementations give the same bits on one thread and on two") {
  const int before = at::get_num_threads();
  for (const bool filters : {false, true}) {
    const Case which{filters, 3, 40, 65, 33, true, Noise::kShared, 2};
    at::manual_seed(17);
    Tensors inputs = inputs_of(which);
    for (at::Tensor& input : inputs) input = input.to(at::kFloat);
    const at::Tensor weights = at::randn({3, 40, 65, 33});
    std::vector<gradients::Derived> results;
    for (const int threads : {1, 2}) {
      at::set_num_threads(threads);
      results.push_back(gradients::derive(fused(which), inputs, weights));
    }
    at::set_num_threads(before);
    CHECK(at::equal(results[0].value, results[1].value));
    for (std::size_t i = 0; i < 4; ++i) CHECK(at::equal(results[0].gradients[i], results[1].gradients[i]));
  }
}

TEST_CASE("arguments of the layers' ends that do not fit are refused") {
  const at::Tensor x = at::zeros({2, 4, 3, 5}), bias = at::zeros({4}), gain = at::ones({2, 4}), filter = at::ones({4});
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced one("styled_activate", name), two("filter_styled_activate", name);
    const auto code = [&](const at::Tensor& a, const at::Tensor& g, const at::Tensor& b, const at::Tensor& noise,
                          double limit) {
      return code_of([&] { (void)styleclip::styled_activate(a, g, b, noise, limit); });
    };
    CHECK(code(at::zeros({4, 3, 5}), {}, bias, {}, 1) == ErrorCode::Shape);
    CHECK(code({}, {}, bias, {}, 1) == ErrorCode::Shape);
    CHECK(code(at::zeros({2, 4, 3, 5}, at::kInt), {}, bias, {}, 1) == ErrorCode::Argument);
    CHECK(code(x, at::ones({4}), bias, {}, 1) == ErrorCode::Shape);
    CHECK(code(x, gain.to(at::kDouble), bias, {}, 1) == ErrorCode::Argument);
    CHECK(code(x.to(at::kDouble), gain, bias.to(at::kDouble), {}, 1) == ErrorCode::Argument);
    CHECK(code(x.to(at::kHalf), gain.to(at::kHalf), bias, {}, 1) == ErrorCode::Argument);
    CHECK(code(x, gain, {}, {}, 1) == ErrorCode::Shape);
    CHECK(code(x, gain, at::zeros({3}), {}, 1) == ErrorCode::Shape);
    CHECK(code(x, gain, bias, at::zeros({5, 3}), 1) == ErrorCode::Shape);
    CHECK(code(x, gain, bias, at::zeros({1, 3, 5}), 1) == ErrorCode::Shape);
    CHECK(code(x, gain, bias, {}, -1) == ErrorCode::Argument);
    CHECK(code(x, gain, bias, {}, std::nan("")) == ErrorCode::Argument);
    const auto filtered = [&](const at::Tensor& t, const at::Tensor& f, const at::Tensor& noise) {
      return code_of([&] { (void)styleclip::filter_styled_activate(t, f, gain, bias, noise, 1); });
    };
    CHECK(filtered(at::zeros({2, 4, 0, 5}), filter, {}) == ErrorCode::Shape);
    CHECK(filtered(x, at::ones({3}), {}) == ErrorCode::Shape);
    CHECK(filtered(x, filter.to(at::kDouble), {}) == ErrorCode::Argument);
    CHECK(filtered(x, filter, at::zeros({3, 5})) == ErrorCode::Shape);
    CHECK(filtered(x, at::ones({4}).requires_grad_(), {}) == ErrorCode::Argument);
  }
}

}  // namespace
