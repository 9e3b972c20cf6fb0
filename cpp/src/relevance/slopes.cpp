// Several pictures share a forward pass, and each product is one backward pass through it: an embedding has fewer numbers
// than StyleSpace has channels, so this is the cheap way round.
#include "relevance/slopes.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "editing/synthesis.h"
#include "relevance/batching.h"
#include "relevance/precision.h"
#include "relevance/working_memory.h"
#include "runtime/allocations.h"
#include "runtime/crew.h"
#include "runtime/reused_memory.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

// Pictures: libtorch takes a 1x1 convolution of 16 or more to oneDNN where a thread is alone, and more leave the
// processor's caches.
constexpr std::int64_t kCpuBatch = 17;

// [pictures, width, total]
at::Tensor products_of(const SweepTask& task, const DifferentiableSynthesis* synthesis, std::int64_t first,
                       std::int64_t count, const SlopesWanted& wanted) {
  std::vector<at::Tensor> cotangents;
  cotangents.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) cotangents.push_back(wanted.cotangents(first + i));
  const at::Tensor all = at::stack(cotangents);
  const at::Tensor s = task.inputs.base.narrow(0, first, count).detach().clone().requires_grad_(true);
  const at::Tensor images = synthesis != nullptr
                                ? synthesis->pictures(s, task.options.noise == NoiseMode::Const)
                                : task.generator.synthesis(s, task.options.noise, task.options.samples.seed, first);
  const at::Tensor f = task.clip.encode_image(task.clip.preprocess(images, task.options.preprocess));
  const at::Tensor unit = f / f.norm(2, 1, true);
  at::Tensor products = at::empty({count, wanted.width, s.size(1)}, s.options().requires_grad(false));
  for (std::int64_t i = 0; i < wanted.width; ++i) {
    task.run.check();
    unit.backward(all.select(1, i), /*retain_graph=*/i + 1 < wanted.width, /*create_graph=*/false, at::TensorList(s));
    products.select(1, i).copy_(s.grad());
    s.mutable_grad().reset();
  }
  return products;
}

// Null where the generator's own has to do: random noise is its own, only it knows which numbers a picture has.
std::unique_ptr<DifferentiableSynthesis> synthesis_of(const SweepTask& task) {
  return task.options.noise == NoiseMode::Random ? nullptr : DifferentiableSynthesis::of(task.generator);
}

void check_differentiable(const SweepTask& task) {
  if (task.options.preprocess == Preprocess::Float) return;
  throw Error(ErrorCode::Argument, "The 8-bit roundings of the reference's preprocessing have no gradient.",
              "Use preprocessing on floats, or the method exact.");
}

}  // namespace

SlopesPlan plan_slopes(const SweepTask& task, std::int64_t width, std::int64_t beside) {
  check_differentiable(task);
  const std::string device = task.generator.device();
  const bool cpu = c10::Device(device).is_cpu();
  const std::int64_t threads = cpu ? at::get_num_threads() : 1, bound = memory_bound(task);
  std::int64_t common = library_bytes(device) + beside;
  SlopesPlan plan{task.options.batch, 0, std::max<std::int64_t>(0, bound - common)};
  if (plan.batch > 0) return plan;

  // One for all measurements, as take_slopes has one for all threads.
  std::unique_ptr<DifferentiableSynthesis> synthesis;
  common += allocations_of(at::Device(device), [&] { synthesis = synthesis_of(task); }).peak;
  SlopesWanted one;  // each further product takes its own numbers only
  one.width = 1;
  one.cotangents = [&](std::int64_t) {
    return at::zeros({1, task.clip.embedding_dim()}, task.inputs.base.options().dtype(at::kFloat));
  };
  const PictureBytes passes = measure_pictures(device, 1, [&](std::int64_t pictures) {
    const c10::InferenceMode inference(false);
    const c10::AutoGradMode gradient(true);
    const PrecisionGuard precision(Precision::Float32);
    const std::int64_t there = task.inputs.base.size(0);
    products_of(task, synthesis.get(), 0, std::min(pictures, there), one);
  });
  const std::int64_t numbers = width * (task.inputs.base.size(1) + task.clip.embedding_dim());
  const auto bytes = [&](std::int64_t n) {
    return common + threads * (passes.of(n) + n * numbers * static_cast<std::int64_t>(sizeof(float)));
  };
  plan.least_bytes = bytes(1);
  const std::int64_t largest = largest_batch(device);
  plan.batch = batch_within(bound, 1, cpu ? std::clamp<std::int64_t>(largest / threads, 1, kCpuBatch) : largest, bytes);
  plan.pool_bytes = std::max(bound, plan.least_bytes) - common;
  return plan;
}

void take_slopes(const SweepTask& task, std::int64_t first_picture, std::int64_t pictures, const SlopesWanted& wanted,
                 SlopesPlan& plan, ProgressMeter& meter) {
  check_differentiable(task);
  const PrecisionGuard precision(Precision::Float32);  // where the models are in float32, so is the arithmetic
  const bool cpu = c10::Device(task.generator.device()).is_cpu();
  MemoryPool pool(plan.pool_bytes);
  const auto beside = [&](const std::function<void()>& serve) {
    const c10::InferenceMode inference(false);
    const c10::AutoGradMode gradient(true);
    const UseMemoryPool reuse(pool);
    serve();
  };
  const std::unique_ptr<DifferentiableSynthesis> synthesis = synthesis_of(task);
  std::optional<Crew> crew;
  if (cpu) crew.emplace(at::get_num_threads(), beside);
  const std::int64_t at_once = cpu ? at::get_num_threads() : 1;

  for (std::int64_t done = 0; done < pictures;) {
    const std::int64_t left = pictures - done, per = std::min(plan.batch, (left + at_once - 1) / at_once);
    const auto pieces = static_cast<std::size_t>(std::min(at_once, (left + per - 1) / per));
    std::vector<at::Tensor> products(pieces);
    const auto work = [&](std::size_t i) {
      const std::int64_t before = static_cast<std::int64_t>(i) * per;
      products[i] =
          products_of(task, synthesis.get(), first_picture + done + before, std::min(per, left - before), wanted);
    };
    try {
      if (crew) {
        crew->run(pieces, work, [](std::size_t) {});
      } else {
        beside([&] { work(0); });
      }
    } catch (...) {
      products.clear();
      halve_or_rethrow(plan.batch, std::min(per, left), 1, task.generator.device());
      pool.trim();
      continue;
    }
    for (const at::Tensor& piece : products) {
      for (std::int64_t i = 0; i < piece.size(0); ++i) {
        wanted.took(first_picture + done++, piece[i].t());
        meter.step(wanted.width);
      }
    }
  }
}

}  // namespace styleclip
