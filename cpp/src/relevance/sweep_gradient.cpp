// The sweep to first order: one Jacobian of the unit embedding a sample picture, by rows. An embedding has fewer numbers
// than StyleSpace has channels, so vector–Jacobian products are the cheap way round; several of them share a pass, each in
// a copy of the picture of its own.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <tuple>
#include <vector>

#include "relevance/engines.h"
#include "relevance/precision.h"
#include "runtime/philox.h"
#include "styleclip/error.h"

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
    cotangents_ = cotangents_of(task);
    batch_ = std::min(batch_, cotangents_.size(0));
  }

  std::string implementation() const override { return "gradient"; }
  std::int64_t work(const SweepBlock& block) const override { return block.pictures * cotangents_.size(0); }
  std::int64_t row_width() const override { return cotangents_.size(0); }

  void add(const SweepPart& part, RelevanceSums& sums, ProgressMeter& meter) override {
    const c10::InferenceMode inference(false);
    const c10::AutoGradMode gradient(true);
    const PrecisionGuard precision(Precision::Float32);  // where the models are in float32, so is the arithmetic
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
      const at::Tensor slopes = jacobian.t().index_select(0, index).to(at::kDouble);  // [rows, width]
      const at::Tensor d = slopes * steps.select(1, picture).unsqueeze(1);
      const bool sketched = task_.options.text.defined();
      sums.add_differences(0, d, (sketched ? d.narrow(1, 1, row_width() - 1) : d).norm(2, 1));
      meter.step(row_width());
      check_finite(sums, part, 0, std::ssize(part.rows));
    }
  }

 private:
  // [width, dim]: what the Jacobian is multiplied by. All of its rows; or a text, and orthogonal directions at random, of
  // such a length that the square of a product with them is on average that of the vector.
  static at::Tensor cotangents_of(const SweepTask& task) {
    const std::int64_t dim = task.clip.embedding_dim();
    const at::TensorOptions options = at::TensorOptions().dtype(at::kFloat).device(c10::Device(task.clip.device()));
    if (!task.options.text.defined()) return at::eye(dim, options);
    if (task.options.text.dim() != 1 || task.options.text.size(0) != dim) {
      throw Error(ErrorCode::Shape,
                  "The text direction has not the " + std::to_string(dim) + " numbers of the embedding.",
                  "Use a direction made with this CLIP model.");
    }
    if (task.options.probes < 1) {
      throw Error(ErrorCode::Range, "A gradient of a text with no probes.", "Use 1 to " + std::to_string(dim) + ".");
    }
    const std::int64_t probes = std::min(task.options.probes, dim);
    const at::Tensor normal = at::empty({dim, probes}, at::kFloat);
    philox_normal(normal.mutable_data_ptr<float>(), normal.numel(), task.options.samples.seed,
                  static_cast<std::uint32_t>(PhiloxStream::Probes), 0);
    const at::Tensor orthogonal = std::get<0>(at::linalg_qr(normal.to(at::kDouble))).t();
    const double length = std::sqrt(static_cast<double>(dim) / static_cast<double>(probes));
    const at::Tensor text = task.options.text.to(at::kCPU, at::kDouble);
    return at::cat({(text / text.norm()).unsqueeze(0), orthogonal * length}).to(options);
  }

  // [width, total]: the products of the Jacobian of a picture's unit embedding by its S.
  at::Tensor jacobian_of(std::int64_t picture) const {
    const std::int64_t width = row_width();
    const at::Tensor base = task_.inputs.base.narrow(0, picture, 1);
    at::Tensor s = base.detach().repeat({batch_, 1}).requires_grad_(true);
    const at::Tensor images = task_.generator.synthesis(s, task_.options.noise, task_.options.samples.seed, picture);
    const at::Tensor f = task_.clip.encode_image(task_.clip.preprocess(images, task_.options.preprocess));
    const at::Tensor unit = f / f.norm(2, 1, true);

    at::Tensor jacobian = at::zeros({width, base.size(1)}, base.options());
    for (std::int64_t first = 0; first < width; first += batch_) {
      task_.run.check();
      const std::int64_t count = std::min(batch_, width - first);
      at::Tensor cotangents = at::zeros_like(unit);
      cotangents.narrow(0, 0, count).copy_(cotangents_.narrow(0, first, count));
      unit.backward(cotangents, /*retain_graph=*/first + count < width, /*create_graph=*/false, at::TensorList(s));
      jacobian.narrow(0, first, count).copy_(s.grad().narrow(0, 0, count));
      s.mutable_grad().reset();
    }
    return jacobian;
  }

  at::Tensor cotangents_;
};

}  // namespace

std::unique_ptr<SweepEngine> make_gradient_engine(const SweepTask& task) {
  return std::make_unique<GradientEngine>(task);
}

}  // namespace styleclip
