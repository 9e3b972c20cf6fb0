// Applying a direction: S' = S + α ΔS, many latents at many strengths (released code: manipulate.py, MSCode and
// GenerateImg, which renders them one by one).
#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "relevance/batching.h"
#include "styleclip/editing.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

void check_edit(const StyleLayout& layout, const at::Tensor& s, const at::Tensor& delta,
                const std::vector<double>& alphas) {
  const std::int64_t total = layout.total();
  if (s.dim() != 2 || s.size(0) < 1 || s.size(1) != total) {
    throw Error(ErrorCode::Shape, "The S codes are not [n, " + std::to_string(total) + "] with n of 1 or more.",
                "Use S codes of this generator.");
  }
  if (delta.dim() != 1 || delta.size(0) != total) {
    throw Error(ErrorCode::Shape, "The direction is not [" + std::to_string(total) + "].",
                "Use a direction made for this generator.");
  }
  if (alphas.empty()) throw Error(ErrorCode::Argument, "No strength alpha was given.", "Give at least one.");
  for (const double alpha : alphas) {
    if (!std::isfinite(alpha)) {
      throw Error(ErrorCode::Range, "A strength alpha is not a finite number.", "Use -10 to 10; 4 is usual.");
    }
  }
  if (!at::isfinite(s).all().item<bool>() || !at::isfinite(delta).all().item<bool>()) {
    throw Error(ErrorCode::NotFinite, "The S codes or the direction hold NaN or infinity.",
                "Check where they come from.");
  }
}

}  // namespace

at::Tensor edit(Generator& generator, const at::Tensor& s, const at::Tensor& delta, const std::vector<double>& alphas,
                std::int64_t batch, NoiseMode noise, const std::function<void(std::int64_t, const at::Tensor&)>& take,
                const RunContext& run) {
  check_edit(generator.layout(), s, delta, alphas);
  const c10::NoGradGuard no_grad;
  const at::Tensor strengths = at::tensor(alphas, at::kDouble).view({1, -1, 1});
  const at::Tensor edited =  // [n, alphas, total] -> [n * alphas, total]
      (s.to(at::kCPU, at::kDouble).unsqueeze(1) + strengths * delta.to(at::kCPU, at::kDouble))
          .to(at::kFloat)
          .flatten(0, 1);
  const std::int64_t pictures = edited.size(0);
  // Random noise belongs to a picture's number, and a forward has consecutive numbers. Each picture goes alone then, with
  // its latent's number, so that the strengths of one latent differ by the edit only.
  const std::int64_t part =
      noise == NoiseMode::Random ? 1 : choose_batch(batch, 0, picture_bytes(generator.layout(), 0), generator.device());
  const auto strengths_each = static_cast<std::int64_t>(alphas.size());
  run.check();
  ProgressMeter meter(run, "edit", pictures, "images");
  for (std::int64_t first = 0; first < pictures; first += part) {
    const std::int64_t count = std::min(part, pictures - first);
    const at::Tensor images =
        generator.synthesis(edited.narrow(0, first, count), noise, /*noise_seed=*/0, first / strengths_each);
    if (take) take(first, images);
    meter.step(count);
  }
  return edited;
}

}  // namespace styleclip
