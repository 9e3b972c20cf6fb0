// Pivotal tuning (arXiv 2106.05744; danielroich/PTI, training/coaches): the latents stay, the generator's weights move, by
// Adam on L2 and a feature distance, and where wanted on how far it leaves the original one beside the pivots (their
// criteria/localitly_regulizer.py). All pictures of a run share one generator.
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

#include "editing/saved_state.h"
#include "relevance/batching.h"
#include "relevance/precision.h"
#include "styleclip/error.h"
#include "styleclip/inversion.h"

namespace styleclip {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;
constexpr std::int64_t kActivationsKept = 6;
constexpr double kLocalityPsi = 0.5;  // truncation of the latents that locality is asked at

enum Part : std::size_t { kTotal, kPixel, kFeature, kLocality, kParts };

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

  // S of latents, or the pictures there, by the original weights, which stand in for the tuned ones meanwhile.
  at::Tensor by_original(const at::Tensor& latent) {
    const c10::AutoGradMode no_graph(false);
    std::vector<at::Tensor> tuned;
    tuned.reserve(weights.size());
    const auto put = [this](const std::vector<at::Tensor>& values) {
      for (std::size_t i = 0; i < values.size(); ++i) weights[i].copy_(values[i]);
    };
    for (const at::Tensor& weight : weights) tuned.push_back(weight.detach().clone());
    put(original);
    try {
      at::Tensor picture = generator.synthesis(generator.styles(latent), NoiseMode::None);
      put(tuned);
      return picture;
    } catch (...) {
      put(tuned);
      throw;
    }
  }

  // How far the tuned generator is from the original one at a latent on the way from a pivot, each in its turn, to a random
  // one. Adds to the gradients; gives what is weighted.
  double locality() {
    at::Tensor latent;
    {
      const c10::AutoGradMode no_graph(false);
      const at::Tensor z = generator.sample_z(1, options.seed, step);
      const at::Tensor w =
          generator.label_dim() > 0 ? generator.mapping(z, generator.sample_labels(1, step)) : generator.mapping(z);
      const at::Tensor pivot = w_plus.narrow(0, step % w_plus.size(0), 1);
      const at::Tensor way = generator.truncate(w, kLocalityPsi, -1) - pivot;
      latent = pivot + way * (options.locality_distance / way.norm().clamp_min(1e-12));
    }
    const at::Tensor before = by_original(latent);
    const c10::AutoGradMode mode(true);
    const at::Tensor now = generator.synthesis(generator.styles(latent), NoiseMode::None);
    at::Tensor total = (now - before).square().mean();
    if (options.lambda_feature > 0) total = total + features.distance(now, features.features(before)).sum();
    (options.lambda_locality * total).backward({}, false, false, at::TensorList(weights));
    return total.item<double>();
  }

  // Means over the pictures; gradients are added up in the weights.
  std::array<double, kParts> passes(const RunContext& run) {
    std::array<double, kParts> sums{};
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
      sums[kTotal] += total.item<double>();
      sums[kPixel] += pixel.item<double>();
      sums[kFeature] += feature.item<double>();
    }
    for (double& sum : sums) sum /= static_cast<double>(all);
    if (options.lambda_locality > 0) {
      run.check();
      sums[kLocality] = locality();
      sums[kTotal] += options.lambda_locality * sums[kLocality];
    }
    return sums;
  }

  void forget_gradients() {
    for (at::Tensor& weight : weights) weight.mutable_grad() = at::Tensor();
  }

  // False when it is done before the step.
  bool update(const RunContext& run) {
    std::array<double, kParts> losses{};
    try {
      for (at::Tensor& weight : weights) weight.requires_grad_(true);
      losses = passes(run);
      for (at::Tensor& weight : weights) weight.requires_grad_(false);
    } catch (...) {
      for (at::Tensor& weight : weights) weight.requires_grad_(false);
      forget_gradients();
      throw;
    }
    bool finite = std::isfinite(losses[kTotal]);
    for (const at::Tensor& weight : weights) {
      finite = finite && (!weight.grad().defined() || weight.grad().isfinite().all().item<bool>());
    }
    const double first_total = curve.empty() ? losses[kTotal] : curve.front()[kTotal];
    const bool exploded = finite && losses[kTotal] > options.explosion * std::max(1.0, first_total);
    if (!finite || exploded) {
      forget_gradients();
      for (std::size_t i = 0; i < weights.size(); ++i) weights[i].copy_(best[i]);
      throw Error(ErrorCode::NotFinite,
                  (exploded ? "The loss exploded at step " : "The loss or its gradient is no number at step ") +
                      std::to_string(step) + ".",
                  "The best weights before are kept; try a lower learning rate.");
    }
    curve.push_back(losses);
    if (losses[kTotal] < lowest) {
      lowest = losses[kTotal];
      for (std::size_t i = 0; i < weights.size(); ++i) best[i].copy_(weights[i]);
    }
    if (options.enough > 0 && options.lambda_feature > 0 && losses[kFeature] <= options.enough) {
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
  std::vector<std::array<double, kParts>> curve;
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
                        options.lambda_locality >= 0 && std::isfinite(options.lambda_locality) &&
                        options.locality_distance > 0 && std::isfinite(options.locality_distance) && options.batch >= 0;
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

double PivotalTuner::loss() const {
  return impl_->curve.empty() ? std::numeric_limits<double>::quiet_NaN() : impl_->curve.back()[kTotal];
}

at::Tensor PivotalTuner::curve() const {
  const c10::InferenceMode inference(false);
  const auto rows = static_cast<std::int64_t>(impl_->curve.size());
  const at::Tensor table = at::empty({rows, static_cast<std::int64_t>(kParts)}, at::kDouble);
  auto* out = table.mutable_data_ptr<double>();
  for (const auto& losses : impl_->curve) out = std::copy(losses.begin(), losses.end(), out);
  return table;
}

std::map<std::string, at::Tensor> PivotalTuner::difference(bool best) const {
  const c10::InferenceMode inference(false);
  const std::vector<at::Tensor>& from = best ? impl_->best : impl_->weights;
  std::map<std::string, at::Tensor> all;
  for (std::size_t i = 0; i < impl_->names.size(); ++i) {
    all[impl_->names[i]] = (from[i].detach() - impl_->original[i]).to(at::kCPU);
  }
  return all;
}

SavedState PivotalTuner::state() const {
  const c10::InferenceMode inference(false);
  const Impl& impl = *impl_;
  SavedState all;
  for (std::size_t i = 0; i < impl.names.size(); ++i) {
    const auto add = [&](const char* prefix, const at::Tensor& tensor) {
      all[prefix + impl.names[i]] = tensor.detach().to(at::kCPU).clone();
    };
    add("weights.", impl.weights[i]);
    add("first.", impl.first[i]);
    add("second.", impl.second[i]);
    add("best.", impl.best[i]);
  }
  all["curve"] = curve();
  all["numbers"] = at::tensor({static_cast<double>(impl.step), impl.lowest, impl.enough ? 1.0 : 0.0}, at::kDouble);
  return all;
}

void PivotalTuner::restore(const SavedState& state) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  Impl& impl = *impl_;
  const at::Tensor numbers = saved_tensor(state, "numbers", at::kDouble, {3});
  const double made = numbers.const_data_ptr<double>()[0];
  if (!(made >= 0 && made <= static_cast<double>(impl.options.steps))) {
    throw Error(ErrorCode::Range, "The state's step is none of this tuning.", "Start anew.");
  }
  const auto step = static_cast<std::int64_t>(made);
  const bool enough = numbers.const_data_ptr<double>()[2] != 0;
  const at::Tensor curve =
      saved_tensor(state, "curve", at::kDouble, {step + (enough ? 1 : 0), static_cast<std::int64_t>(kParts)});
  for (const bool write : {false, true}) {
    for (std::size_t i = 0; i < impl.names.size(); ++i) {
      const auto take = [&](const char* prefix, at::Tensor& tensor) {
        const at::Tensor from = saved_tensor(state, prefix + impl.names[i], tensor);
        if (write) tensor.copy_(from);
      };
      take("weights.", impl.weights[i]);
      take("first.", impl.first[i]);
      take("second.", impl.second[i]);
      take("best.", impl.best[i]);
    }
  }
  impl.step = step;
  impl.lowest = numbers.const_data_ptr<double>()[1];
  impl.enough = enough;
  impl.curve.resize(static_cast<std::size_t>(curve.size(0)));
  const double* from = curve.const_data_ptr<double>();
  for (auto& losses : impl.curve) {
    std::copy_n(from, kParts, losses.begin());
    from += kParts;
  }
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
