#include "editing/augment.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/affine_grid_generator.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/grid_sampler.h>
#include <ATen/ops/reflection_pad2d.h>
#include <ATen/ops/zeros.h>

#include "runtime/philox.h"
#include "styleclip/models.h"

namespace styleclip {
namespace {

constexpr double kShift = 0.03;     // of half the picture, each way
constexpr double kScale = 0.03;     // each way
constexpr double kSharpen = 1;      // of the difference from a 3 x 3 mean; negative blurs
constexpr double kContrast = 0.12;  // each way
constexpr double kBrightness = 0.1;
constexpr double kNoise = 0.06;  // standard deviation at most
constexpr double kPlain = 0.25;  // share of pictures that stay as they are

enum Amount : std::int64_t { kX, kY, kZoom, kEdge, kSpan, kLight, kGrain, kWhether, kAmounts };

}  // namespace

at::Tensor augmented(const at::Tensor& images, double strength, std::uint64_t seed, std::int64_t first) {
  const auto rounded = [](const at::Tensor& x) { return from_uint8_nhwc(to_uint8_nhwc(x)); };
  if (strength == 0) return rounded(images);
  const std::int64_t count = images.size(0), numbers = images[0].numel();
  const auto stream = static_cast<std::uint32_t>(PhiloxStream::Augmentation);
  at::Tensor amounts = at::empty({count, kAmounts}), noise = at::empty({count, numbers});
  for (std::int64_t i = 0; i < count; ++i) {
    const auto sample = static_cast<std::uint64_t>(first + i);
    philox_uniform(amounts.mutable_data_ptr<float>() + i * kAmounts, kAmounts, seed, stream, sample);
    philox_normal(noise.mutable_data_ptr<float>() + i * numbers, numbers, seed, stream + 1, sample);
  }
  const at::Tensor moved = amounts.select(1, kWhether).ge(kPlain).to(at::kFloat) * strength;
  // [-1, 1] times what it may be; 0 where the picture stays.
  const auto either = [&](std::int64_t which) { return (amounts.select(1, which) * 2 - 1) * moved; };
  const auto each = [&](const at::Tensor& one) { return one.view({count, 1, 1, 1}).to(images.device()); };

  at::Tensor theta = at::zeros({count, 2, 3});
  const at::Tensor zoom = 1 + either(kZoom) * kScale;
  theta.select(1, 0).select(1, 0).copy_(zoom);
  theta.select(1, 1).select(1, 1).copy_(zoom);
  theta.select(1, 0).select(1, 2).copy_(either(kX) * kShift);
  theta.select(1, 1).select(1, 2).copy_(either(kY) * kShift);
  const at::Tensor grid = at::affine_grid_generator(theta.to(images.device()), images.sizes(), false);
  at::Tensor x = at::grid_sampler(images, grid, /*interpolation_mode=*/0, /*padding_mode=*/1, false);

  const at::Tensor blurred = at::avg_pool2d(at::reflection_pad2d(x, {1, 1, 1, 1}), {3, 3}, {1, 1});
  x = x + each(either(kEdge) * kSharpen) * (x - blurred);
  x = x * each(1 + either(kSpan) * kContrast) + each(either(kLight) * kBrightness);
  const at::Tensor grain = amounts.select(1, kGrain) * moved * kNoise;
  x = x + each(grain) * noise.view(images.sizes()).to(images.device());
  return rounded(x);
}

}  // namespace styleclip
