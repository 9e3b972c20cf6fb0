// What the operators refuse, all of it from one table: every tensor of every operator left out, with a dimension or a number
// more, of another type, on another device, in another order; every limit below zero and no number. What takes two arguments
// that do not go together stands below the table, and in the operators' own files.
#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "forced.h"
#include "ops/filter_styled_activate.h"
#include "ops/styled_activate.h"
#include "refusals.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace {

using refusals::code_of;
using styleclip::ErrorCode;
using Tensors = std::vector<at::Tensor>;

enum Trait : unsigned {
  kPlain = 0,
  kOptional = 1,   // may be left out
  kFreeWidth = 2,  // its last size may be any
  kOrdered = 4     // in one order in memory
};

struct Argument {
  const char* name;
  at::Tensor tensor;
  unsigned traits = kPlain;
};

struct Operator {
  const char* name;
  std::vector<Argument> arguments;
  std::vector<double> limits;
  std::function<void(Tensors&, const std::vector<double>&)> call;
};

at::Tensor channels_last(const at::Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }
at::Tensor zeros(at::IntArrayRef sizes, at::ScalarType type = at::kFloat) { return at::zeros(sizes, type); }
at::Tensor activations(at::IntArrayRef sizes) { return channels_last(at::zeros(sizes)); }

std::vector<Operator> operators() {
  const Argument y{"y", activations({2, 4, 3, 3}), kOrdered}, bias{"bias", zeros({4})};
  const Argument noise{"noise", zeros({3, 3}), kOptional}, filter{"filter", zeros({4})};
  const Argument weight{"weight", zeros({3, 4})}, rgb_bias{"rgb_bias", zeros({3})};
  const Argument matrix{"matrix", zeros({5, 3})}, canvas{"canvas", zeros({2, 3, 5, 5}), kOrdered};
  const Argument gain{"gain", at::ones({2, 4}), kOptional}, styled_noise{"noise", zeros({3, 5}), kOptional};
  const Argument input{"canvas", zeros({2, 3, 6, 6})}, mean{"mean", zeros({3})}, deviation{"deviation", at::ones({3})};
  const auto clip_input = [](std::int64_t patch) {
    return [patch](Tensors& t, const std::vector<double>&) { styleclip::clip_input(t[0], t[1], t[2], patch, t[3]); };
  };
  return {
      {"accumulate_directions",
       {{"plus", at::ones({2, 3, 4})},
        {"minus", at::ones({2, 3, 4})},
        {"sum", zeros({2, 4}, at::kDouble)},
        {"magnitude", zeros({2}, at::kDouble)},
        {"count", zeros({2}, at::kLong)}},
       {},
       [](Tensors& t, const auto&) { styleclip::accumulate_directions(t[0], t[1], t[2], t[3], t[4]); }},
      {"perturb_channels",
       {{"planes", zeros({1, 5, 5})},
        {"taps", zeros({1, 9, 4})},
        {"linear", zeros({9, 4})},
        {"steps", zeros({2, 1})},
        {"gains", zeros({2, 1, 4})},
        bias,
        noise,
        y},
       {1},
       [](Tensors& t, const auto& limits) {
         styleclip::perturb_channels(t[0], t[1], t[2], t[3], t[4], t[5], t[6], limits[0], t[7]);
       }},
      {"activate",
       {y, bias, noise},
       {1},
       [](Tensors& t, const auto& limits) { styleclip::activate(t[0], t[1], t[2], limits[0]); }},
      {"filter_activate",
       {{"t", activations({2, 4, 4, 4}), kOrdered}, filter, bias, noise, y},
       {1},
       [](Tensors& t, const auto& limits) { styleclip::filter_activate(t[0], t[1], t[2], t[3], limits[0], t[4]); }},
      {"add_to_canvas",
       {y, weight, rgb_bias, matrix, canvas},
       {1},
       [](Tensors& t, const auto& limits) { styleclip::add_to_canvas(t[0], t[1], t[2], limits[0], t[3], t[4]); }},
      {"activate_to_canvas",
       {y, bias, noise, weight, rgb_bias, matrix, canvas},
       {1, 1},
       [](Tensors& t, const auto& limits) {
         styleclip::activate_to_canvas(t[0], t[1], t[2], limits[0], t[3], t[4], limits[1], t[5], t[6], true);
       }},
      {"convolve_to_canvas",
       {{"x", channels_last(zeros({2, 16, 3, 3}, at::kHalf)), kOrdered},
        {"kernel", channels_last(zeros({32, 16, 3, 3}, at::kHalf)), kOrdered},
        {"bias", zeros({32})},
        noise,
        {"weight", zeros({3, 32})},
        rgb_bias,
        matrix,
        canvas,
        {"y", channels_last(zeros({2, 32, 3, 3}, at::kHalf)), kOrdered | kOptional}},
       {1, 1},
       [](Tensors& t, const auto& limits) {
         styleclip::convolve_to_canvas(t[0], t[1], t[2], t[3], limits[0], t[4], t[5], limits[1], t[6], t[7], t[8]);
       }},
      {"clip_input", {input, mean, deviation, {"out", zeros({2, 3, 6, 6}), kOrdered}}, {}, clip_input(0)},
      {"clip_input", {input, mean, deviation, {"out", zeros({2, 4, 27})}}, {}, clip_input(3)},
      {"resample",
       {{"images", zeros({1, 3, 4, 5})}, {"vertical", zeros({2, 4})}, {"horizontal", zeros({2, 5})}},
       {},
       [](Tensors& t, const auto&) { (void)styleclip::resample(t[0], t[1], t[2]); }},
      {"resize_8bit",
       {{"pixels", zeros({2, 4, 3}, at::kByte), kFreeWidth},
        {"first", zeros({5}, at::kInt)},
        {"weights", zeros({5, 3}, at::kInt), kFreeWidth}},
       {},
       [](Tensors& t, const auto&) { (void)styleclip::resize_8bit(t[0], t[1], t[2]); }},
      {"styled_activate",
       {{"x", zeros({2, 4, 3, 5})}, gain, bias, styled_noise},
       {1},
       [](Tensors& t, const auto& limits) { (void)styleclip::styled_activate(t[0], t[1], t[2], t[3], limits[0]); }},
      {"filter_styled_activate",
       {{"t", zeros({2, 4, 4, 6})}, filter, gain, bias, styled_noise},
       {1},
       [](Tensors& t, const auto& limits) {
         (void)styleclip::filter_styled_activate(t[0], t[1], t[2], t[3], t[4], limits[0]);
       }},
      {"edit_loss",
       {{"embedding", at::ones({2, 4})},
        {"text", at::ones({3, 4})},
        {"latents", at::ones({2, 6})},
        {"source", at::ones({2, 6})},
        {"identity", at::ones({2, 5})},
        {"source_identity", at::ones({2, 5})}},
       {},
       [](Tensors& t, const auto&) { (void)styleclip::edit_loss(t[0], t[1], t[2], t[3], t[4], t[5], 1, 1, 1, false); }},
  };
}

// The tensor with one more number in its last dimension.
at::Tensor wider(const at::Tensor& tensor, bool in_channels_last) {
  std::vector<std::int64_t> sizes = tensor.sizes().vec();
  ++sizes.back();
  const at::Tensor made = at::zeros(sizes, tensor.options());
  return in_channels_last ? channels_last(made) : made;
}

TEST_CASE("every argument that does not fit is refused, by every operator and both implementations") {
  for (const Operator& one : operators()) {
    CAPTURE(one.name);
    for (const std::string implementation : {"reference", "cpu"}) {
      CAPTURE(implementation);
      const Forced forced(one.name, implementation);
      Tensors good;
      for (const Argument& argument : one.arguments) good.push_back(argument.tensor);
      const auto code = [&](std::size_t which, const at::Tensor& tensor) {
        Tensors given = good;
        given[which] = tensor;
        const styleclip::Error error = refusals::error_of([&] { one.call(given, one.limits); });
        CHECK(std::string(error.what()).find(one.name) != std::string::npos);
        return error.code();
      };
      Tensors accepted;
      for (const at::Tensor& tensor : good) accepted.push_back(tensor.clone());
      one.call(accepted, one.limits);

      for (std::size_t i = 0; i < good.size(); ++i) {
        const at::Tensor& tensor = one.arguments[i].tensor;
        const unsigned traits = one.arguments[i].traits;
        CAPTURE(one.arguments[i].name);
        const bool last = tensor.dim() == 4 && tensor.is_contiguous(at::MemoryFormat::ChannelsLast);
        // Of a pair that is given together or not at all, one alone is no shape.
        const bool pair = std::string(one.name) == "edit_loss" && i >= 4;
        if ((traits & kOptional) == 0) CHECK(code(i, {}) == (pair ? ErrorCode::Argument : ErrorCode::Shape));
        CHECK(code(i, tensor.unsqueeze(0)) == ErrorCode::Shape);
        if ((traits & kFreeWidth) == 0) CHECK(code(i, wider(tensor, last)) == ErrorCode::Shape);
        const bool is_long = tensor.scalar_type() == at::kLong;
        CHECK(code(i, tensor.to(is_long ? at::kInt : at::kLong)) == ErrorCode::Argument);
        CHECK(code(i, tensor.to(at::kMeta)) == ErrorCode::Argument);
        if ((traits & kOrdered) != 0) {
          CHECK(code(i, last ? tensor.contiguous() : channels_last(tensor)) == ErrorCode::Argument);
        }
      }
      for (std::size_t i = 0; i < one.limits.size(); ++i) {
        CAPTURE(i);
        for (const double wrong : {-1.0, -std::numeric_limits<double>::infinity(), std::nan("")}) {
          std::vector<double> limits = one.limits;
          limits[i] = wrong;
          CHECK(code_of([&] { one.call(good, limits); }) == ErrorCode::Argument);
        }
      }
    }
  }
}

TEST_CASE("tensors that share memory, and patches that do not divide a picture, are refused") {
  for (const std::string implementation : {"reference", "cpu"}) {
    CAPTURE(implementation);
    const Forced one("filter_activate", implementation), two("clip_input", implementation),
        three("accumulate_directions", implementation), four("perturb_channels", implementation);
    const at::Tensor memory = activations({2, 4, 4, 4});
    at::Tensor inside = memory.as_strided({2, 4, 3, 3}, {36, 1, 12, 4});
    REQUIRE(inside.is_contiguous(at::MemoryFormat::ChannelsLast));
    CHECK(code_of([&] { styleclip::filter_activate(memory, zeros({4}), zeros({4}), {}, 1, inside); }) ==
          ErrorCode::Argument);
    at::Tensor patches = zeros({2, 4, 27});
    for (const std::int64_t patch : {4, 7}) {
      CHECK(code_of([&] { styleclip::clip_input(zeros({2, 3, 6, 6}), zeros({3}), at::ones({3}), patch, patches); }) ==
            ErrorCode::Shape);
    }
    CHECK(code_of([&] { styleclip::clip_input(zeros({2, 3, 6, 6}), zeros({3}), at::ones({3}), -3, patches); }) ==
          ErrorCode::Argument);
    at::Tensor sum = zeros({2, 0}, at::kDouble), magnitude = zeros({2}, at::kDouble), count = zeros({2}, at::kLong);
    const at::Tensor nothing = at::ones({2, 3, 0});
    CHECK(code_of([&] { styleclip::accumulate_directions(nothing, nothing, sum, magnitude, count); }) ==
          ErrorCode::Shape);
  }
}

TEST_CASE("gradients of what is not there, or of other shapes, are refused; so is one that a constant asks for") {
  const at::Tensor y = activations({2, 4, 3, 5}), gain = at::ones({2, 4}), bias = zeros({4}), noise = zeros({3, 5});
  const at::Tensor filter = zeros({4});
  using styleclip::Wanted;
  for (const bool cpu : {false, true}) {
    CAPTURE(cpu);
    for (const bool filters : {false, true}) {
      CAPTURE(filters);
      const auto code = [&](const at::Tensor& gradient, const at::Tensor& f, const at::Tensor& g, const at::Tensor& map,
                            Wanted wanted) {
        return code_of([&] {
          if (filters) {
            const auto backward = cpu ? styleclip::filter_styled_activate_backward_cpu
                                      : styleclip::filter_styled_activate_backward_reference;
            (void)backward(gradient, y, f, g, bias, map, 1, wanted);
          } else {
            const auto backward =
                cpu ? styleclip::styled_activate_backward_cpu : styleclip::styled_activate_backward_reference;
            (void)backward(gradient, y, g, bias, map, 1, wanted);
          }
        });
      };
      const Wanted all = {true, true, true, true};
      CHECK(code({}, filter, gain, noise, all) == ErrorCode::Shape);
      CHECK(code(activations({2, 4, 3, 6}), filter, gain, noise, all) == ErrorCode::Shape);
      CHECK(code(y.to(at::kDouble), filter, gain, noise, all) == ErrorCode::Argument);
      CHECK(code(y.to(at::kMeta), filter, gain, noise, all) == ErrorCode::Argument);
      CHECK(code(y, filter, {}, noise, all) == ErrorCode::Argument);
      CHECK(code(y, filter, gain, {}, all) == ErrorCode::Argument);
      CHECK(code(y, filter, zeros({2, 5}), noise, all) == ErrorCode::Shape);
      if (filters) CHECK(code(y, zeros({5}), gain, noise, all) == ErrorCode::Shape);
    }
  }
  const auto asks = [](at::IntArrayRef sizes) { return at::ones(sizes).requires_grad_(); };
  const at::Tensor e = at::ones({2, 4}), w = at::ones({2, 6}), i = at::ones({2, 5});
  CHECK(code_of([&] { (void)styleclip::edit_loss(e, e, w, asks({2, 6}), i, i, 1, 1, 1, false); }) ==
        ErrorCode::Argument);
  CHECK(code_of([&] { (void)styleclip::edit_loss(e, e, w, w, i, asks({2, 5}), 1, 1, 1, false); }) ==
        ErrorCode::Argument);
  CHECK(code_of([&] { (void)styleclip::resample(at::ones({1, 3, 4, 5}), zeros({2, 4}), asks({2, 5})); }) ==
        ErrorCode::Argument);
  CHECK(code_of([&] { (void)styleclip::filter_styled_activate(y, asks({4}), {}, bias, {}, 1); }) ==
        ErrorCode::Argument);
}

TEST_CASE("resamplings refuse what are no pictures, and sizes of nothing") {
  const std::vector<std::function<void(const at::Tensor&)>> all = {
      [](const at::Tensor& x) { (void)styleclip::clip_resample(x, 32); },
      [](const at::Tensor& x) { (void)styleclip::bicubic_resample(x, 5, 6); },
      [](const at::Tensor& x) { (void)styleclip::face_crop_resample(x, 14); },
      [](const at::Tensor& x) { (void)styleclip::upsample_picture(x); }};
  for (const auto& resampled : all) {
    CHECK(code_of([&] { resampled({}); }) == ErrorCode::Shape);
    CHECK(code_of([&] { resampled(at::ones({3, 32, 32})); }) == ErrorCode::Shape);
    CHECK(code_of([&] { resampled(at::ones({1, 3, 32, 32}, at::kInt)); }) == ErrorCode::Argument);
    CHECK(code_of([&] { resampled(at::ones({1, 3, 0, 32})); }) == ErrorCode::Range);
    CHECK(code_of([&] { resampled(at::ones({1, 3, 32, 0})); }) == ErrorCode::Range);
    resampled(at::ones({1, 3, 32, 32}));
  }
  const at::Tensor picture = at::ones({1, 3, 32, 32});
  for (const std::int64_t size : {0, -32}) {
    CHECK(code_of([&] { (void)styleclip::clip_resample(picture, size); }) == ErrorCode::Range);
    CHECK(code_of([&] { (void)styleclip::bicubic_resample(picture, size, 6); }) == ErrorCode::Range);
    CHECK(code_of([&] { (void)styleclip::bicubic_resample(picture, 6, size); }) == ErrorCode::Range);
    CHECK(code_of([&] { (void)styleclip::face_crop_resample(picture, size); }) == ErrorCode::Range);
  }
}

}  // namespace
