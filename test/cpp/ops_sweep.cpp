// The operators of the exact sweep through their C++ entries: planted examples, refusals, and results that do not depend on
// the number of threads. Their numbers over many sizes and types are checked by styleclip_selfcheck, which runs the table of
// cases that the CUDA kernels have too (test/cuda-host/sweep_cases.h).
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "forced.h"
#include "ops/activate.h"
#include "ops/add_to_canvas.h"
#include "ops/filter_activate.h"
#include "ops/perturb_channels.h"
#include "ops/rows_cpu.h"
#include "refusals.h"
#include "rounding.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace {

using refusals::code_of;
using styleclip::ErrorCode;

constexpr double kNone = std::numeric_limits<double>::infinity();

at::Tensor channels_last(const at::Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

TEST_CASE("float16 and bfloat16 convert as libtorch does: every number of theirs, and what is rounded to them") {
  std::vector<c10::Half> halves(65536);
  std::vector<c10::BFloat16> brains(65536);
  for (std::uint32_t i = 0; i < 65536; ++i) {
    halves[i] = c10::Half(static_cast<std::uint16_t>(i), c10::Half::from_bits());
    brains[i] = c10::BFloat16(static_cast<std::uint16_t>(i), c10::BFloat16::from_bits());
  }
  const auto check = [](const auto& all) {
    using T = typename std::decay_t<decltype(all)>::value_type;
    const auto same = [](float a, float b) { return a == b ? std::signbit(a) == std::signbit(b) : a != a && b != b; };
    const auto count = static_cast<std::int64_t>(all.size());
    std::vector<float> wide(all.size()), floats;
    styleclip::rows::widen(all.data(), count, wide.data());
    int other = 0;
    for (std::size_t i = 0; i < all.size(); ++i) other += !same(wide[i], static_cast<float>(all[i]));
    CHECK(other == 0);
    // Every number, its neighbours among the floats, and the middle to the next one with its neighbours.
    for (std::size_t i = 0; i + 1 < all.size(); ++i) {
      const float middle = wide[i] / 2 + wide[i + 1] / 2;
      for (const float x : {wide[i], middle}) {
        for (const float y : {x, std::nextafter(x, INFINITY), std::nextafter(x, -INFINITY)}) floats.push_back(y);
      }
    }
    for (const float x : {65519.0F, 65520.0F, 65536.0F, 1e38F, 1e-45F, 0x1p-25F, -0x1.8p-25F}) floats.push_back(x);
    std::vector<T> narrow(floats.size());
    styleclip::rows::narrow(floats.data(), static_cast<std::int64_t>(floats.size()), narrow.data());
    for (std::size_t i = 0; i < floats.size(); ++i) {
      other += !same(static_cast<float>(narrow[i]), static_cast<float>(static_cast<T>(floats[i])));
    }
    CHECK(other == 0);
  };
  check(halves);
  check(brains);
}

TEST_CASE("every operator of the sweep has a reference and a CPU implementation") {
  for (const char* op : {"perturb_channels", "activate", "filter_activate", "add_to_canvas", "activate_to_canvas",
                         "convolve_to_canvas", "clip_input"}) {
    const auto names = styleclip::implementations(op);
    REQUIRE(names.size() >= 2);
    CHECK(names[0] == "reference");
    CHECK(names[1] == "cpu");
  }
}

TEST_CASE("planted: perturb_channels of one pixel's plane is the taps turned round") {
  // A one in the middle of a 3x3 picture: pixel p sees it with tap (1, 1) - p.
  at::Tensor planes = at::zeros({1, 5, 5});
  planes[0][2][2] = 1;
  const at::Tensor taps = at::arange(1, 10, at::kFloat).view({1, 9, 1});
  const at::Tensor linear = at::full({9, 1}, 100.0F);
  const at::Tensor steps = at::tensor({1.0F, -1.0F}).view({2, 1});
  const at::Tensor gains = at::tensor({1.0F, 2.0F}).view({2, 1, 1});
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced forced("perturb_channels", name);
    at::Tensor y = channels_last(at::zeros({2, 1, 3, 3}));
    styleclip::perturb_channels(planes, taps, linear, steps, gains, at::tensor({0.5F}), {}, 195, y);
    for (std::int64_t p = 0; p < 9; ++p) {
      CHECK(y[0][0][p / 3][p % 3].item<float>() == 100.5F + static_cast<float>(9 - p));
      CHECK(y[1][0][p / 3][p % 3].item<float>() == std::min(195.0F, 2 * (100 - static_cast<float>(9 - p)) + 0.5F));
    }
  }
}

TEST_CASE("planted: filter_activate of one pixel is the filter turned round, cut at the edge") {
  at::Tensor t = channels_last(at::zeros({1, 1, 4, 4}));
  t[0][0][1][0] = 1;
  const at::Tensor filter = at::tensor({1.0F, 2.0F, 4.0F, 8.0F});
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced forced("filter_activate", name);
    at::Tensor y = channels_last(at::zeros({1, 1, 3, 3}));
    styleclip::filter_activate(t, filter, at::zeros({1}), {}, kNone, y);
    // t[q] reaches y[p] with filter[q - p + 1] in each direction: rows 4, 2, 1; columns 2, 1 and none.
    CHECK(at::equal(y[0][0], at::outer(at::tensor({4.0F, 2.0F, 1.0F}), at::tensor({2.0F, 1.0F, 0.0F}))));
  }
}

TEST_CASE("planted: a canvas of half the size by pairs, added to what is there") {
  const at::Tensor matrix = at::tensor({0.5F, 0.5F, 0.0F, 0.0F, 0.0F, 0.0F, 0.5F, 0.5F}).view({2, 4});
  at::Tensor y = channels_last(at::arange(16, at::kFloat).view({1, 1, 4, 4}));
  const at::Tensor weight = at::tensor({1.0F, 2.0F, -1.0F}).view({3, 1});
  const at::Tensor means = at::tensor({2.5F, 4.5F, 10.5F, 12.5F}).view({2, 2});
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced forced("add_to_canvas", name);
    at::Tensor canvas = at::ones({1, 3, 2, 2});
    styleclip::add_to_canvas(y, weight, at::tensor({0.0F, 0.0F, 3.0F}), kNone, matrix, canvas);
    CHECK(at::equal(canvas[0][0], means + 1));
    CHECK(at::equal(canvas[0][1], 2 * means + 1));
    CHECK(at::equal(canvas[0][2], 4 - means));
  }
}

TEST_CASE("activate_to_canvas is activate and add_to_canvas, and leaves y's values alone where it may") {
  at::manual_seed(2);
  const at::Tensor start = channels_last(at::randn({2, 6, 5, 5}));
  const at::Tensor bias = at::randn({6}), noise = at::randn({5, 5}), weight = at::randn({3, 6}), color = at::randn({3});
  const at::Tensor matrix = at::rand({4, 5});
  at::Tensor y = start.clone();
  at::Tensor wanted = at::zeros({2, 3, 4, 4});
  styleclip::activate(y, bias, noise, 1.5);
  styleclip::add_to_canvas(y, weight, color, 2, matrix, wanted);
  // Each way rounds the terms of its sums once each, to within 2⁻²⁴ of the sum of their magnitudes (Higham, 3.1): three and
  // the slope; then six channels, the colour and, twice, five pixels.
  const auto wide = [](const at::Tensor& x) { return x.to(at::kDouble).abs(); };
  const at::Tensor sizes = wide(start) + wide(bias).view({-1, 1, 1}) + wide(noise);
  const at::Tensor colors = at::einsum("ci,nihw->nchw", {wide(weight), sizes}) + wide(color).view({-1, 1, 1});
  const at::Tensor painted = at::matmul(at::matmul(wide(matrix), colors), wide(matrix).t());
  const auto excess = [](const at::Tensor& got, const at::Tensor& other, const at::Tensor& bound) {
    return ((got.to(at::kDouble) - other.to(at::kDouble)).abs() - bound).max().item<double>();
  };
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced forced("activate_to_canvas", name);
    at::Tensor kept = start.clone(), canvas = at::zeros({2, 3, 4, 4});
    styleclip::activate_to_canvas(kept, bias, noise, 1.5, weight, color, 2, matrix, canvas, true);
    CHECK(excess(kept, y, 2 * 4 * 0x1p-24 * sizes) <= 0);
    CHECK(excess(canvas, wanted, 2 * (4 + 7 + 2 * 5 + 1) * 0x1p-24 * painted) <= 0);
  }
}

TEST_CASE("the CPU's loops over a row: every instruction set, number type, any number of channels and pixels") {
  at::manual_seed(3);
  constexpr double kLimit = 1.5, kRgbLimit = 4;
  for (const styleclip::Instructions instructions : styleclip::known_instructions()) {
    CAPTURE(static_cast<int>(instructions));
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
      CAPTURE(type);
      for (const auto& [channels, r] : std::vector<std::pair<std::int64_t, std::int64_t>>{
               {1, 1}, {3, 2}, {4, 5}, {15, 4}, {16, 16}, {17, 19}, {32, 33}, {48, 8}, {67, 21}}) {
        CAPTURE(channels);
        const at::Tensor start = channels_last(at::randn({2, channels, r, r}).to(type));
        const at::Tensor bias = at::randn({channels}), weight = at::randn({3, channels}), color = at::randn({3});
        const at::Tensor noise = channels % 2 == 1 ? at::randn({r, r}) : at::Tensor(), matrix = at::rand({7, r});
        const auto wide = [](const at::Tensor& x) { return x.to(at::kDouble); };
        const auto down = [](const at::Tensor& x) { return x.view({-1, 1, 1}); };
        at::Tensor sum = wide(start) + down(wide(bias)), sizes = wide(start).abs() + down(wide(bias).abs());
        if (noise.defined()) {
          sum += wide(noise);
          sizes += wide(noise).abs();
        }
        const at::Tensor y = at::maximum(sum, 0.2 * sum).clamp(-kLimit, kLimit);
        const auto mixed = [&](const at::Tensor& w, const at::Tensor& x, const at::Tensor& c) {
          return at::einsum("ci,nihw->nchw", {w, x}) + down(c);
        };
        const auto spread = [&](const at::Tensor& x) {
          return at::matmul(at::matmul(wide(matrix), x), wide(matrix).t());
        };
        // Roundings: three of the activation and one of the slope; a channel's product, the sums over channels, the colour;
        // the sums over lines and columns.
        const double u = 0x1p-24 * static_cast<double>(4 + channels + 1 + 2 * r);
        const auto far = [](const at::Tensor& got, const at::Tensor& wanted, const at::Tensor& bound) {
          return ((got.to(at::kDouble) - wanted).abs() - bound).max().item<double>();
        };
        for (const bool keep : {true, false}) {
          at::Tensor kept = start.clone(), canvas = at::ones({2, 3, 7, 7});
          styleclip::activate_to_canvas_by(kept, bias, noise, kLimit, weight, color, kRgbLimit, matrix, canvas, keep,
                                           instructions);
          CHECK(far(canvas - 1, spread(mixed(wide(weight), y, wide(color)).clamp(-kRgbLimit, kRgbLimit)),
                    (u + 0x1p-24) * (1 + spread(mixed(wide(weight).abs(), sizes, wide(color).abs())))) <= 0);
          if (!keep) {
            CHECK(at::equal(kept, start));
            continue;
          }
          // Of the smallest numbers, those that are subnormal in the type may become 0.
          const double least = type == at::kHalf ? 0x1p-25 : 0x1p-126;
          CHECK(far(kept, y, 4 * 0x1p-24 * sizes + rounding::roundoff(type) * y.abs() + least) <= 0);
        }
        at::Tensor canvas = at::zeros({2, 3, 7, 7});
        styleclip::add_to_canvas_by(start, weight, color, kNone, matrix, canvas, instructions);
        CHECK(far(canvas, spread(mixed(wide(weight), wide(start), wide(color))),
                  u * spread(mixed(wide(weight).abs(), wide(start).abs(), wide(color).abs()))) <= 0);
      }
    }
  }
}

TEST_CASE("the CPU's loops over a row: NaN stays NaN and infinity is clamped, in their own pixels") {
  for (const styleclip::Instructions instructions : styleclip::known_instructions()) {
    at::Tensor y = channels_last(at::ones({1, 20, 18, 18})), canvas = at::zeros({1, 3, 18, 18});
    y[0][3][2][1] = NAN;
    y[0][17][5][17] = INFINITY;
    y[0][0][7][16] = -INFINITY;
    const at::Tensor weight = at::ones({3, 20}), zeros = at::zeros({20});
    styleclip::activate_to_canvas_by(y, zeros, {}, 256, weight, at::zeros({3}), 300, {}, canvas, true, instructions);
    CHECK(canvas.isnan().sum().item<std::int64_t>() == 3);
    CHECK(canvas[0].select(1, 2).select(1, 1).isnan().all().item<bool>());
    CHECK((canvas[0].select(1, 5).select(1, 17) == 256 + 19).all().item<bool>());
    CHECK((canvas[0].select(1, 7).select(1, 16) == -256 + 19).all().item<bool>());
    CHECK((canvas[0].select(1, 0) == 20).all().item<bool>());
    CHECK(y.isnan().sum().item<std::int64_t>() == 1);
  }
}

TEST_CASE("planted: convolve_to_canvas of one pixel is the kernel turned round, cut at the edge, and y where asked") {
  at::Tensor x = at::zeros({1, 16, 3, 3}, at::kHalf).contiguous(at::MemoryFormat::ChannelsLast);
  x[0][5][0][1] = 1;
  at::Tensor kernel = at::zeros({16, 16, 3, 3}, at::kHalf).contiguous(at::MemoryFormat::ChannelsLast);
  kernel[2][5].copy_(at::arange(1, 10, at::kHalf).view({3, 3}));
  at::Tensor weight = at::zeros({3, 16});
  weight[1][2] = 2;
  // x[q] reaches y[p] with kernel[q - p + (1, 1)]: q (0, 1).
  const at::Tensor turned = at::tensor({6.0F, 5.0F, 4.0F, 3.0F, 2.0F, 1.0F, 0.0F, 0.0F, 0.0F}).view({3, 3}) + 1;
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced forced("convolve_to_canvas", name);
    for (const bool keep : {false, true}) {
      at::Tensor canvas = at::ones({1, 3, 3, 3}), y = keep ? at::empty_like(x) : at::Tensor();
      styleclip::convolve_to_canvas(x, kernel, at::ones({16}), {}, kNone, weight, at::zeros({3}), 11, {}, canvas, y);
      CHECK(at::equal(canvas[0][0], at::ones({3, 3})));
      CHECK(at::equal(canvas[0][1], (2 * turned).clamp_max(11) + 1));
      if (keep) CHECK(at::equal(y[0][2], turned.to(at::kHalf)));
      if (keep) CHECK(at::equal(y[0][3], at::ones({3, 3}, at::kHalf)));
    }
  }
}

TEST_CASE("convolve_to_canvas refuses what tensor cores do not take") {
  const auto code = [](at::ScalarType type, std::int64_t inputs, std::int64_t outputs) {
    const auto typed = [&](at::IntArrayRef sizes) { return channels_last(at::zeros(sizes, type)); };
    at::Tensor canvas = at::zeros({1, 3, 2, 2});
    return code_of([&] {
      styleclip::convolve_to_canvas(typed({1, inputs, 2, 2}), typed({outputs, inputs, 3, 3}), at::zeros({outputs}), {},
                                    1, at::zeros({3, outputs}), at::zeros({3}), 1, {}, canvas, {});
    });
  };
  CHECK(code(at::kFloat, 16, 16) == ErrorCode::Argument);
  CHECK(code(at::kHalf, 8, 16) == ErrorCode::Argument);
  CHECK(code(at::kHalf, 16, 24) == ErrorCode::Argument);
  CHECK(code(at::kBFloat16, 80, 16) == ErrorCode::Argument);
}

TEST_CASE("the fast implementations give the same bits on one thread and on two") {
  at::manual_seed(8);
  const int before = at::get_num_threads();
  std::vector<at::Tensor> results[2];
  const at::Tensor planes = at::randn({3, 34, 34}), taps = at::randn({3, 9, 48}), linear = at::randn({32 * 32, 48}),
                   steps = at::randn({2, 3}), gains = at::randn({2, 3, 48}), bias = at::randn({48}),
                   noise = at::randn({32, 32}), t = channels_last(at::randn({6, 48, 33, 33})), filter = at::randn({4}),
                   weight = at::randn({3, 48}), color = at::randn({3}), matrix = at::rand({20, 32});
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    at::Tensor y = channels_last(at::empty({6, 48, 32, 32})), z = y.clone(), canvas = at::zeros({6, 3, 20, 20});
    styleclip::perturb_channels_cpu(planes, taps, linear, steps, gains, bias, noise, kNone, y);
    styleclip::filter_activate_cpu(t, filter, bias, noise, kNone, z);
    styleclip::activate_to_canvas_cpu(z, bias, {}, 3, weight, color, kNone, matrix, canvas, true);
    results[threads - 1] = {y, z, canvas};
  }
  at::set_num_threads(before);
  for (std::size_t i = 0; i < results[0].size(); ++i) CHECK(at::equal(results[0][i], results[1][i]));
}

TEST_CASE("arguments that do not fit are refused by both implementations") {
  const at::Tensor bias = at::zeros({4}), weight = at::zeros({3, 4}), color = at::zeros({3});
  for (const std::string name : {"reference", "cpu"}) {
    CAPTURE(name);
    const Forced one("activate", name), two("add_to_canvas", name), three("filter_activate", name),
        four("perturb_channels", name), five("clip_input", name);
    const auto activate = [&](at::Tensor y, const at::Tensor& b, const at::Tensor& noise, double limit) {
      return code_of([&] { styleclip::activate(y, b, noise, limit); });
    };
    const at::Tensor y = channels_last(at::zeros({2, 4, 3, 3}));
    CHECK(activate(at::zeros({2, 4, 3, 3}), bias, {}, 1) == ErrorCode::Argument);  // channels first
    CHECK(activate(y.slice(0, 0, 2, 2).slice(1, 0, 2), bias.slice(0, 0, 2), {}, 1) == ErrorCode::Argument);  // gaps
    CHECK(activate(y.to(at::kDouble), bias, {}, 1) == ErrorCode::Argument);
    CHECK(activate(channels_last(at::zeros({2, 4, 3, 2})), bias, {}, 1) == ErrorCode::Shape);
    CHECK(activate(y, at::zeros({5}), {}, 1) == ErrorCode::Shape);
    CHECK(activate(y, bias.to(at::kHalf), {}, 1) == ErrorCode::Argument);
    CHECK(activate(y, bias, at::zeros({3}), 1) == ErrorCode::Shape);
    CHECK(activate(y, bias, {}, -1) == ErrorCode::Argument);
    CHECK(activate(y, bias, {}, std::nan("")) == ErrorCode::Argument);

    const auto add = [&](const at::Tensor& matrix, at::Tensor canvas) {
      return code_of([&] { styleclip::add_to_canvas(y, weight, color, 1, matrix, canvas); });
    };
    CHECK(add({}, at::zeros({2, 3, 4, 4})) == ErrorCode::Shape);
    CHECK(add(at::zeros({4, 2}), at::zeros({2, 3, 4, 4})) == ErrorCode::Shape);
    CHECK(add(at::zeros({4}), at::zeros({2, 3, 4, 4})) == ErrorCode::Shape);
    CHECK(add(at::zeros({4, 3}), channels_last(at::zeros({2, 3, 4, 4}))) == ErrorCode::Argument);
    CHECK(add(at::zeros({4, 3}), at::zeros({2, 3, 4, 8}).slice(3, 0, 8, 2)) == ErrorCode::Argument);
    CHECK(add(at::zeros({4, 3}), at::zeros({2, 3, 4, 4}, at::kDouble)) == ErrorCode::Argument);

    const auto filtered = [&](const at::Tensor& t, const at::Tensor& filter) {
      at::Tensor out = y.clone();
      return code_of([&] { styleclip::filter_activate(t, filter, bias, {}, 1, out); });
    };
    CHECK(filtered(channels_last(at::zeros({2, 4, 3, 3})), at::zeros({4})) == ErrorCode::Shape);
    CHECK(filtered(channels_last(at::zeros({2, 4, 4, 4})), at::zeros({3})) == ErrorCode::Shape);
    CHECK(filtered(channels_last(at::zeros({2, 4, 4, 4}, at::kHalf)), at::zeros({4})) == ErrorCode::Argument);

    const auto perturbed = [&](std::int64_t pictures, std::int64_t width) {
      at::Tensor out = channels_last(at::zeros({pictures, 4, 3, 3}));
      return code_of([&] {
        styleclip::perturb_channels(at::zeros({1, width, width}), at::zeros({1, 9, 4}), at::zeros({9, 4}),
                                    at::zeros({2, 1}), at::zeros({2, 1, 4}), bias, {}, 1, out);
      });
    };
    CHECK(perturbed(3, 5) == ErrorCode::Shape);
    CHECK(perturbed(2, 3) == ErrorCode::Shape);

    const auto input = [&](std::int64_t patch, at::Tensor out) {
      return code_of([&] { styleclip::clip_input(at::zeros({1, 3, 6, 6}), color, at::ones({3}), patch, out); });
    };
    CHECK(input(4, at::zeros({1, 3, 6, 6})) == ErrorCode::Shape);
    CHECK(input(3, at::zeros({1, 3, 6, 6})) == ErrorCode::Shape);
    CHECK(input(0, at::zeros({1, 3, 6, 6}, at::kInt)) == ErrorCode::Argument);
    CHECK(input(0, channels_last(at::zeros({1, 3, 6, 6}))) == ErrorCode::Argument);
    CHECK(input(-1, at::zeros({1, 3, 6, 6})) == ErrorCode::Argument);
  }
}

}  // namespace
