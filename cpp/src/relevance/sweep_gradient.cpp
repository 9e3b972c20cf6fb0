// The sweep to first order: one Jacobian of the unit embedding a sample picture, by rows. An embedding has fewer numbers
// than StyleSpace has channels, so vector–Jacobian products are the cheap way round; several of them share a pass, each in
// a copy of the picture of its own.
#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "relevance/engines.h"

namespace styleclip {
namespace {

// A graph for the backward pass keeps every activation, where a plain forward lets them go.
constexpr std::int64_t kActivationsKept = 4;

class GradientEngine : public SweepEngine {
 public:
  explicit GradientEngine(const SweepTask& task) : SweepEngine(task) {
    if (task.options.preprocess != Preprocess::Float) {
      throw Error(ErrorCode::Argument, "The 8-bit roundings of the reference's preprocessing have no gradient.",
                  "Use preprocessing on floats, or the method exact.");
    }
    if (task.options.batch == 0) batch_ = std::max<std::int64_t>(1, batch_ / kActivationsKept);
    // Random noise belongs to a picture's number, which the copies of a batch do not share.
    if (task.options.noise == NoiseMode::Random) batch_ = 1;
    batch_ = std::min(batch_, task.clip.embedding_dim());
  }

  std::string implementation() const override { return "gradient"; }
  std::int64_t work(const SweepBlock& block) const override { return block.pictures * task_.clip.embedding_dim(); }

  void add(const SweepPart& part, RelevanceSums& sums, ProgressMeter& meter) override {
    const c10::InferenceMode inference(false);
    const c10::AutoGradMode gradient(true);
    const SweepInputs& inputs = task_.inputs;
    std::vector<std::int64_t> places, channels;
    for (const std::int64_t row : part.rows) {
      places.push_back(inputs.moving[static_cast<std::size_t>(row)]);
      channels.push_back(inputs.channels[static_cast<std::size_t>(places.back())]);
    }
    const c10::Device device = inputs.base.device();
    const at::Tensor index = at::tensor(channels, at::kLong).to(device);
    const at::Tensor steps =  // [rows, images]
        (inputs.plus - inputs.minus).index_select(0, at::tensor(places, at::kLong).to(device));

    for (std::int64_t picture = part.first_picture; picture < part.first_picture + part.pictures; ++picture) {
      at::Tensor jacobian;
      while (!jacobian.defined()) {
        try {
          jacobian = jacobian_of(picture);
        } catch (...) {
          halve_or_rethrow(batch_, 1);
        }
      }
      const at::Tensor slopes = jacobian.t().index_select(0, index);  // [rows, dim]
      sums.add_differences(0, slopes * steps.select(1, picture).unsqueeze(1));
      meter.step(task_.clip.embedding_dim());
      check_finite(sums, part, 0, std::ssize(part.rows));
    }
  }

 private:
  // [dim, total]: the unit embedding of a picture by its S.
  at::Tensor jacobian_of(std::int64_t picture) const {
    const std::int64_t dim = task_.clip.embedding_dim();
    const at::Tensor base = task_.inputs.base.narrow(0, picture, 1);
    at::Tensor s = base.detach().repeat({batch_, 1}).requires_grad_(true);
    const at::Tensor images = task_.generator.synthesis(s, task_.options.noise, task_.options.samples.seed, picture);
    const at::Tensor f = task_.clip.encode_image(task_.clip.preprocess(images, task_.options.preprocess));
    const at::Tensor unit = f / f.norm(2, 1, true);

    const at::Tensor ones = at::eye(dim, unit.options());
    at::Tensor jacobian = at::zeros({dim, base.size(1)}, base.options());
    for (std::int64_t first = 0; first < dim; first += batch_) {
      task_.run.check();
      const std::int64_t count = std::min(batch_, dim - first);
      at::Tensor cotangents = at::zeros_like(unit);
      cotangents.narrow(0, 0, count).copy_(ones.narrow(0, first, count));
      unit.backward(cotangents, /*retain_graph=*/first + count < dim, /*create_graph=*/false, at::TensorList(s));
      jacobian.narrow(0, first, count).copy_(s.grad().narrow(0, 0, count));
      s.mutable_grad().reset();
    }
    return jacobian;
  }
};

}  // namespace

std::unique_ptr<SweepEngine> make_gradient_engine(const SweepTask& task) {
  return std::make_unique<GradientEngine>(task);
}

}  // namespace styleclip
