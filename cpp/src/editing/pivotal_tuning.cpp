// Pivotal tuning (arXiv 2106.05744; danielroich/PTI, training/coaches): the latents stay, the generator's weights move, by
// Adam on L2 and a feature distance. All pictures of a run share one generator.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "relevance/batching.h"
#include "relevance/precision.h"
#include "styleclip/error.h"
#include "styleclip/inversion.h"

namespace styleclip {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;
constexpr std::int64_t kActivationsKept = 6;

// What synthesis learns: not the mapping network (the latents are fixed), nor constants.
bool is_tuned(const std::string& name, const at::Tensor& tensor) {
  const bool constant = name == "latent_avg" || name.starts_with("noises.") || name.ends_with(".kernel");
  return tensor.is_floating_point() && !constant && !name.starts_with("style.") && !name.starts_with("embed.");
}

}  // namespace

struct PivotalTuner::Impl {
  Impl(Generator& model, const FeatureNetwork& network, const TuningOptions& wanted)
      : generator(model), features(network), options(wanted) {}

  at::Tensor pictures(std::int64_t from, std::int64_t count) const {
    std::vector<at::Tensor> maps;
    maps.reserve(noise.size());
    for (const at::Tensor& map : noise) maps.push_back(map.narrow(0, from, count));
    const at::Tensor s = generator.styles(w_plus.narrow(0, from, count));
    return maps.empty() ? generator.synthesis(s) : generator.synthesis(s, maps);
  }

  // Total, pixel and feature, means over the pictures; gradients are added up in the weights.
  std::array<double, 3> passes(const RunContext& run) {
    std::array<double, 3> sums{};
    const std::int64_t all = images.size(0);
    for (std::int64_t from = 0; from < all; from += batch) {
      run.check();
      const std::int64_t count = std::min(batch, all - from);
      const c10::AutoGradMode mode(true);
      const at::Tensor target = images.narrow(0, from, count), drawn = pictures(from, count);
      const at::Tensor pixel = (drawn - target).square().mean({1, 2, 3}).sum();
      at::Tensor total = options.lambda_pixel * pixel, feature = at::zeros_like(pixel);
      if (options.lambda_feature > 0) {
        feature = features.distance(drawn, target_features.narrow(0, from, count)).sum();
        total = total + options.lambda_feature * feature;
      }
      (total / static_cast<double>(all)).backward({}, false, false, at::TensorList(weights));
      sums[0] += total.item<double>();
      sums[1] += pixel.item<double>();
      sums[2] += feature.item<double>();
    }
    for (double& sum : sums) sum /= static_cast<double>(all);
    return sums;
  }

  void forget_gradients() {
    for (at::Tensor& weight : weights) weight.mutable_grad() = at::Tensor();
  }

  // False when it is done before the step.
  bool update(const RunContext& run) {
    std::array<double, 3> losses{};
    try {
      for (at::Tensor& weight : weights) weight.requires_grad_(true);
      losses = passes(run);
      for (at::Tensor& weight : weights) weight.requires_grad_(false);
    } catch (...) {
      for (at::Tensor& weight : weights) weight.requires_grad_(false);
      forget_gradients();
      throw;
    }
    bool finite = std::isfinite(losses[0]);
    for (const at::Tensor& weight : weights) {
      finite = finite && (!weight.grad().defined() || weight.grad().isfinite().all().item<bool>());
    }
    if (!finite) {
      forget_gradients();
      for (std::size_t i = 0; i < weights.size(); ++i) weights[i].copy_(best[i]);
      throw Error(ErrorCode::NotFinite, "The loss or its gradient is no number at step " + std::to_string(step) + ".",
                  "The best weights before are kept; try a lower learning rate.");
    }
    curve.push_back(losses);
    if (losses[0] < lowest) {
      lowest = losses[0];
      for (std::size_t i = 0; i < weights.size(); ++i) best[i].copy_(weights[i]);
    }
    if (options.enough > 0 && options.lambda_feature > 0 && losses[2] <= options.enough) {
      forget_gradients();
      return false;
    }
    const auto number = static_cast<double>(step + 1);
    const double rate = options.learning_rate / (1 - std::pow(kBeta1, number));
    const double root = std::sqrt(1 - std::pow(kBeta2, number));
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const at::Tensor g = weights[i].grad();
      if (!g.defined()) continue;
      first[i].mul_(kBeta1).add_(g, 1 - kBeta1);
      second[i].mul_(kBeta2).addcmul_(g, g, 1 - kBeta2);
      weights[i].addcdiv_(first[i], second[i].sqrt().div_(root).add_(kEpsilon), -rate);
    }
    forget_gradients();
    ++step;
    return true;
  }

  Generator& generator;
  FeatureNetwork features;
  TuningOptions options;
  at::Tensor images, w_plus, target_features;
  std::vector<at::Tensor> noise;
  std::vector<std::string> names;
  std::vector<at::Tensor> weights, original, first, second, best;
  std::vector<std::array<double, 3>> curve;
  double lowest = std::numeric_limits<double>::infinity();
  std::int64_t step = 0, batch = 1;
  bool enough = false;
};

PivotalTuner::PivotalTuner(Generator& generator, const FeatureNetwork& features, const at::Tensor& images,
                           const at::Tensor& w_plus, const std::vector<at::Tensor>& noise,
                           const TuningOptions& options) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  const PrecisionGuard precision(Precision::Float32);
  if (generator.dtype() != "float32") {
    throw Error(ErrorCode::Argument, "A generator in " + generator.dtype() + " cannot be tuned.",
                "Load it in float32.");
  }
  const bool sensible = options.steps >= 1 && options.learning_rate > 0 && std::isfinite(options.learning_rate) &&
                        options.lambda_pixel >= 0 && options.lambda_feature >= 0 && options.enough >= 0 &&
                        options.batch >= 0;
  if (!sensible) throw Error(ErrorCode::Range, "An option of the tuning is out of range.", "See its documentation.");
  if (options.lambda_feature > 0 && !features.any()) {
    throw Error(ErrorCode::Argument, "A feature loss without a network.", "Give one, or set its weight to 0.");
  }
  const std::int64_t side = generator.image_size();
  if (!images.defined() || images.dim() != 4 || images.size(1) != 3 || images.size(2) != side ||
      images.size(3) != side || !w_plus.defined() || w_plus.dim() != 3 || w_plus.size(0) != images.size(0)) {
    throw Error(ErrorCode::Shape, "Pictures and latents of the tuning do not fit each other or the generator.",
                "Give pictures of the generator's size and w_plus of each.");
  }
  impl_ = std::make_unique<Impl>(generator, features, options);
  Impl& impl = *impl_;
  const c10::Device device(generator.device());
  impl.images = images.to(device, at::kFloat).contiguous();
  impl.w_plus = w_plus.to(device, at::kFloat).contiguous();
  for (const at::Tensor& map : noise) impl.noise.push_back(map.to(device, at::kFloat));
  for (const auto& [name, tensor] : generator.tensors()) {
    if (!is_tuned(name, tensor)) continue;
    impl.names.push_back(name);
    impl.weights.push_back(tensor);
    impl.original.push_back(tensor.detach().clone());
    impl.best.push_back(tensor.detach().clone());
    impl.first.push_back(at::zeros_like(tensor));
    impl.second.push_back(at::zeros_like(tensor));
  }
  impl.batch =
      choose_batch(options.batch, 0, picture_bytes(generator.layout(), 256) * kActivationsKept, generator.device());
  impl.pictures(0, 1);  // refuses what does not fit
  if (options.lambda_feature > 0) {
    std::vector<at::Tensor> parts;
    for (std::int64_t from = 0; from < images.size(0); from += impl.batch) {
      parts.push_back(features.features(impl.images.narrow(0, from, std::min(impl.batch, images.size(0) - from))));
    }
    impl.target_features = at::cat(parts);
  }
}

PivotalTuner::~PivotalTuner() = default;

bool PivotalTuner::advance(std::int64_t steps, const RunContext& run) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  const PrecisionGuard precision(Precision::Float32);
  Impl& impl = *impl_;
  const std::int64_t until = std::min(impl.options.steps, impl.step + steps);
  while (!impl.enough && impl.step < until) {
    run.check();
    impl.enough = !impl.update(run);
  }
  return !impl.enough && impl.step < impl.options.steps;
}

std::int64_t PivotalTuner::step() const { return impl_->step; }

at::Tensor PivotalTuner::curve() const {
  const c10::InferenceMode inference(false);
  const at::Tensor table = at::empty({static_cast<std::int64_t>(impl_->curve.size()), 3}, at::kDouble);
  auto* out = table.mutable_data_ptr<double>();
  for (const auto& losses : impl_->curve) out = std::copy(losses.begin(), losses.end(), out);
  return table;
}

std::map<std::string, at::Tensor> PivotalTuner::difference() const {
  const c10::InferenceMode inference(false);
  std::map<std::string, at::Tensor> all;
  for (std::size_t i = 0; i < impl_->names.size(); ++i) {
    all[impl_->names[i]] = (impl_->weights[i].detach() - impl_->original[i]).to(at::kCPU);
  }
  return all;
}

void apply_difference(Generator& generator, const std::map<std::string, at::Tensor>& difference) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  std::map<std::string, at::Tensor> own = generator.tensors();
  for (const auto& [name, tensor] : difference) {
    const auto found = own.find(name);
    if (found == own.end() || found->second.sizes() != tensor.sizes()) {
      throw Error(ErrorCode::ModelMismatch, "The difference has '" + name + "', which is not so in this generator.",
                  "Load the generator that was tuned.");
    }
    if (!tensor.isfinite().all().item<bool>()) {
      throw Error(ErrorCode::NotFinite, "'" + name + "' of the difference holds NaN or infinity.", "Tune it again.");
    }
  }
  for (const auto& [name, tensor] : difference) {
    at::Tensor& weight = own.at(name);
    weight.copy_(weight.to(at::kFloat) + tensor.to(weight.device(), at::kFloat));
  }
}

}  // namespace styleclip
