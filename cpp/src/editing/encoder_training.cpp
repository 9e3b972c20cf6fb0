// See styleclip/encoder_training.h. Sample k of step t is number t * batch + k of the generator's samples, so a run that
// goes on sees what it would have seen.
#include "styleclip/encoder_training.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>
#include <utility>
#include <vector>

#include "editing/augment.h"
#include "editing/encoder_network.h"
#include "editing/ranger.h"
#include "editing/saved_state.h"
#include "relevance/precision.h"
#include "runtime/philox.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

constexpr std::int64_t kSpreadSamples = 4096;
// Numbers of samples: training counts from 0, so these are never reached.
constexpr std::int64_t kHeldOut = std::int64_t{1} << 40, kSecond = std::int64_t{1} << 41;
constexpr std::int64_t kPooling = 4;

using Tensors = std::map<std::string, at::Tensor>;

void check_options(const EncoderTrainingOptions& options, bool has_clip, bool has_identity) {
  const auto refuse = [](const std::string& name, double value, const char* wanted) {
    throw Error(ErrorCode::Range, name + " is " + std::to_string(value) + ".", std::string("Give ") + wanted + ".");
  };
  const auto weight = [&](const char* name, double value) {
    if (!std::isfinite(value) || value < 0) refuse(name, value, "a finite number that is not negative");
  };
  weight("lambda_latent", options.lambda_latent);
  weight("lambda_image", options.lambda_image);
  weight("lambda_id", options.lambda_id);
  weight("lambda_clip", options.lambda_clip);
  weight("lambda_delta", options.lambda_delta);
  weight("augmentation", options.augmentation);
  if (!(options.learning_rate > 0) || !std::isfinite(options.learning_rate))
    refuse("learning_rate", options.learning_rate, "a number above 0");
  if (!(options.clip_gradient > 0)) refuse("clip_gradient", options.clip_gradient, "a number above 0");
  if (!(options.mixing >= 0 && options.mixing <= 1)) refuse("mixing", options.mixing, "a share, 0 to 1");
  if (options.steps < 1) refuse("steps", static_cast<double>(options.steps), "1 or more");
  if (options.batch < 2) refuse("batch", static_cast<double>(options.batch), "2 or more: statistics are the batch's");
  if (options.image_batch < 0 || options.image_batch > options.batch)
    refuse("image_batch", static_cast<double>(options.image_batch), "0, or at most batch");
  if (options.warm_up < 0) refuse("warm_up", static_cast<double>(options.warm_up), "0 or more");
  if (options.validation < 1) refuse("validation", static_cast<double>(options.validation), "1 or more");
  if (options.lambda_id > 0 && !has_identity) {
    throw Error(ErrorCode::Argument, "An identity loss without an identity network.", "Load one, or leave it out.");
  }
  if (options.lambda_clip > 0 && !has_clip) {
    throw Error(ErrorCode::Argument, "A CLIP loss without a CLIP model.", "Load one, or leave it out.");
  }
}

at::Tensor cosine_distance(const at::Tensor& a, const at::Tensor& b) {
  return (1 - (a * b).sum(1) / (a.norm(2, -1) * b.norm(2, -1)).clamp_min(1e-12)).mean();
}

}  // namespace

struct EncoderTrainer::Impl {
  Impl(Generator& model, const Encoder& encoder, Clip* with_clip, Identity* with_identity,
       const EncoderTrainingOptions& wanted)
      : generator(model), clip(with_clip), identity(with_identity), options(wanted), network(encoder) {}

  void begin(const RunContext& run) {
    const std::int64_t rows = generator.layout().rows;
    if (network.rows() != rows || network.width() != generator.w_dim()) {
      throw Error(ErrorCode::ModelMismatch,
                  "The encoder gives " + std::to_string(network.rows()) + " rows of " +
                      std::to_string(network.width()) + " numbers, the generator takes " + std::to_string(rows) +
                      " of " + std::to_string(generator.w_dim()) + ".",
                  "Make an encoder with the generator's rows and style width.");
    }
    const at::Tensor w = latents(0, kSpreadSamples, 1);
    run.check();
    deviation = std::sqrt(w.var(0, false).mean().item<double>());
    at::Tensor& average = network.tensors().at("latent_avg");
    if (average.eq(0).all().item<bool>()) {
      average.copy_(generator.truncate(w.narrow(0, 0, 1), 0, -1)[0]);
    }
    std::vector<at::Tensor> parameters;
    for (const std::string& name : network.trained()) parameters.push_back(network.tensors().at(name));
    optimizer = std::make_unique<ParameterOptimizer>(options.optimizer, options.learning_rate, parameters);
    for (const auto& [name, tensor] : network.tensors()) best[name] = tensor.clone();
  }

  // w [n, width] of samples of the generator.
  at::Tensor latents(std::int64_t from, std::int64_t count, double psi) const {
    const at::Tensor z = generator.sample_z(count, options.seed, from);
    const at::Tensor w =
        generator.label_dim() > 0 ? generator.mapping(z, generator.sample_labels(count, from)) : generator.mapping(z);
    return psi == 1 ? w : generator.truncate(w, psi, -1).select(1, 0);
  }

  // w_plus [n, rows, width]: mostly one w in all rows.
  at::Tensor codes(std::int64_t from, std::int64_t count, double mixing) const {
    const std::int64_t rows = network.rows();
    at::Tensor one = generator.truncate(latents(from, count, options.truncation_psi), 1, -1);
    if (mixing == 0) return one;
    const at::Tensor other = generator.truncate(latents(kSecond + from, count, options.truncation_psi), 1, -1);
    at::Tensor crossing = at::empty({count}, at::kLong);
    for (std::int64_t i = 0; i < count; ++i) {
      std::array<float, 2> u{};
      philox_uniform(u.data(), 2, options.seed, static_cast<std::uint32_t>(PhiloxStream::Augmentation) + 2,
                     static_cast<std::uint64_t>(from + i));
      const auto row = 1 + static_cast<std::int64_t>(u[1] * static_cast<float>(rows - 1));
      crossing.mutable_data_ptr<std::int64_t>()[i] = u[0] < mixing ? row : rows;
    }
    const at::Tensor is_other = at::arange(rows).unsqueeze(0).ge(crossing.unsqueeze(1)).unsqueeze(2);
    return at::where(is_other.to(one.device()), other, one);
  }

  at::Tensor render(const at::Tensor& w_plus) const { return generator.synthesis(generator.styles(w_plus)); }

  at::Tensor sized(const at::Tensor& images) const {
    const std::int64_t height = network.image_height(), width = network.image_width();
    if (images.size(2) == height && images.size(3) == width) return images;
    return at::adaptive_avg_pool2d(images, {height, width});
  }

  at::Tensor embedding(const at::Tensor& images) const {
    return clip->encode_image(clip->preprocess(images, Preprocess::Float));
  }

  // Total, latent, image, id, clip, delta.
  std::vector<at::Tensor> losses(const at::Tensor& truth, const at::Tensor& all_images, const at::Tensor& guess,
                                 std::int64_t rendered) const {
    const at::Tensor nothing = at::zeros({}, guess.options());
    const at::Tensor latent = ((guess - truth) / deviation).square().mean();
    const at::Tensor delta = (guess - guess.narrow(1, 0, 1)).narrow(1, 1, guess.size(1) - 1).norm(2, -1).sum(1).mean();
    at::Tensor total = options.lambda_latent * latent + options.lambda_delta * delta;
    at::Tensor image = nothing, id = nothing, meaning = nothing;
    if (options.lambda_image > 0 || options.lambda_id > 0 || options.lambda_clip > 0) {
      const at::Tensor images = all_images.narrow(0, 0, rendered);
      const at::Tensor drawn = render(guess.narrow(0, 0, rendered)), difference = drawn - images;
      const at::Tensor pooled = at::avg_pool2d(difference, {kPooling, kPooling});
      image = difference.square().mean();
      total = total + options.lambda_image * (image + pooled.abs().mean());
      if (options.lambda_id > 0) {
        id = cosine_distance(identity->embed(drawn), identity->embed(images));
        total = total + options.lambda_id * id;
      }
      if (options.lambda_clip > 0) {
        meaning = cosine_distance(embedding(drawn), embedding(images));
        total = total + options.lambda_clip * meaning;
      }
    }
    return {total, latent, image, id, meaning, delta};
  }

  static std::array<double, 6> numbers(const std::vector<at::Tensor>& parts) {
    std::vector<at::Tensor> flat;
    flat.reserve(parts.size());
    for (const at::Tensor& part : parts) flat.push_back(part.detach());
    const at::Tensor table = at::stack(flat).to(at::kCPU, at::kDouble);
    std::array<double, 6> values{};
    std::copy_n(table.const_data_ptr<double>(), values.size(), values.begin());
    return values;
  }

  static EncoderLoss named(const std::array<double, 6>& sums, double count) {
    return {sums[0] / count, sums[1] / count, sums[2] / count, sums[3] / count, sums[4] / count, sums[5] / count};
  }

  // Of the learning rate, at this step.
  double share() const {
    const auto t = static_cast<double>(step), all = static_cast<double>(options.steps);
    const double warm = options.warm_up > 0 ? std::min(1.0, (t + 1) / static_cast<double>(options.warm_up)) : 1;
    return warm * 0.5 * (1 + std::cos(std::numbers::pi * t / all));
  }

  // One update. Nothing of the state changes before all of it is known.
  std::array<double, 6> update(const RunContext& run) {
    const std::int64_t from = step * options.batch;
    const at::Tensor truth = codes(from, options.batch, options.mixing);
    const at::Tensor images = render(truth);
    const at::Tensor seen = sized(augmented(images, options.augmentation, options.seed, from));
    run.check();
    Tensors& tensors = network.tensors();
    std::vector<at::Tensor> leaves;
    Tensors held;
    for (const std::string& name : network.trained()) {
      held[name] = tensors.at(name);
      tensors[name] = held[name].detach().requires_grad_(true);
      leaves.push_back(tensors[name]);
    }
    EncoderNetwork::Statistics statistics;
    std::array<double, 6> values{};
    std::vector<at::Tensor> gradients;
    try {
      const c10::AutoGradMode mode(true);
      const at::Tensor guess = network.forward(seen, &statistics, options.bfloat16 ? at::kBFloat16 : at::kFloat);
      run.check();
      const std::vector<at::Tensor> parts =
          losses(truth, images, guess, options.image_batch > 0 ? options.image_batch : options.batch);
      run.check();
      parts[0].backward({}, false, false, at::TensorList(leaves));
      values = numbers(parts);
      // A network of few rows leaves a part of the pyramid unused.
      for (const at::Tensor& leaf : leaves) {
        gradients.push_back(leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf));
      }
    } catch (...) {
      for (auto& [name, tensor] : held) tensors[name] = std::move(tensor);
      throw;
    }
    for (auto& [name, tensor] : held) tensors[name] = std::move(tensor);
    run.check();
    std::vector<at::Tensor> squares;
    squares.reserve(gradients.size());
    for (const at::Tensor& gradient : gradients) squares.push_back(gradient.square().sum());
    const double length = std::sqrt(at::stack(squares).sum().item<double>());
    const double weight =
        options.lambda_latent + options.lambda_image + options.lambda_id + options.lambda_clip + options.lambda_delta;
    const bool exploded = values[0] > options.explosion * std::max(1.0, weight);
    if (exploded || !std::isfinite(values[0]) || !std::isfinite(length)) {
      throw Error(ErrorCode::NotFinite,
                  (exploded ? "The loss exploded at step " : "The loss or its gradient is no number at step ") +
                      std::to_string(step + 1) + ".",
                  "The best weights are kept; try a lower learning rate.");
    }
    const double shrink = std::min(1.0, options.clip_gradient / std::max(length, 1e-12));
    for (at::Tensor& gradient : gradients) gradient = gradient * shrink;
    optimizer->step(gradients, share());
    for (const auto& [name, tensor] : statistics) tensors.at(name).copy_(tensor);
    ++step;
    return values;
  }

  // The optimiser's own tensors, by name.
  std::vector<std::pair<std::string, Tensors>> moments() const {
    std::vector<std::pair<std::string, Tensors>> all;
    const auto add = [&](const char* prefix, const std::vector<at::Tensor>& tensors) {
      Tensors named;
      for (std::size_t i = 0; i < tensors.size(); ++i) named[network.trained()[i]] = tensors[i];
      all.emplace_back(prefix, std::move(named));
    };
    add("first.", optimizer->first);
    add("second.", optimizer->second);
    add("slow.", optimizer->slow);
    return all;
  }

  Generator& generator;
  Clip* clip;
  Identity* identity;
  EncoderTrainingOptions options;
  EncoderNetwork network;
  std::unique_ptr<ParameterOptimizer> optimizer;
  Tensors best;
  double deviation = 1, best_image = std::numeric_limits<double>::infinity();
  std::int64_t step = 0, best_step = 0;
};

EncoderTrainer::EncoderTrainer(Generator& generator, const Encoder& encoder, Clip* clip, Identity* identity,
                               const EncoderTrainingOptions& options, const RunContext& run) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  check_options(options, clip != nullptr, identity != nullptr);
  impl_ = std::make_unique<Impl>(generator, encoder, clip, identity, options);
  impl_->begin(run);
}

EncoderTrainer::~EncoderTrainer() = default;

EncoderLoss EncoderTrainer::advance(std::int64_t steps, const RunContext& run) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  const PrecisionGuard precision(Precision::Float32);
  const std::int64_t until = std::min(impl_->options.steps, impl_->step + steps);
  std::array<double, 6> sums{};
  double count = 0;
  while (impl_->step < until) {
    run.check();
    const std::array<double, 6> values = impl_->update(run);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += values[i];
    ++count;
  }
  return Impl::named(sums, std::max(count, 1.0));
}

std::int64_t EncoderTrainer::step() const { return impl_->step; }
const std::string& EncoderTrainer::config() const { return impl_->network.config(); }
double EncoderTrainer::best_image() const { return impl_->best_image; }
std::int64_t EncoderTrainer::best_step() const { return impl_->best_step; }

EncoderLoss EncoderTrainer::validate(const RunContext& run) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  const PrecisionGuard precision(Precision::Float32);
  Impl& impl = *impl_;
  std::array<double, 6> sums{};
  for (std::int64_t from = 0; from < impl.options.validation; from += impl.options.batch) {
    run.check();
    const std::int64_t count = std::min(impl.options.batch, impl.options.validation - from);
    const at::Tensor truth = impl.codes(kHeldOut + from, count, 0), images = impl.render(truth);
    const at::Tensor seen = impl.sized(augmented(images, 0, impl.options.seed, 0));
    const auto values =
        Impl::numbers(impl.losses(truth, images, impl.network.forward(seen, nullptr, at::kFloat), count));
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += values[i] * static_cast<double>(count);
  }
  const EncoderLoss mean = Impl::named(sums, static_cast<double>(impl.options.validation));
  const double judged = impl.options.lambda_image > 0 ? mean.image : mean.latent;
  if (judged < impl.best_image) {
    impl.best_image = judged;
    impl.best_step = impl.step;
    for (const auto& [name, tensor] : impl.network.tensors()) impl.best.at(name).copy_(tensor);
  }
  return mean;
}

std::map<std::string, at::Tensor> EncoderTrainer::state() const {
  const c10::InferenceMode inference(false);
  std::map<std::string, at::Tensor> all;
  const auto add = [&all](const std::string& prefix, const Tensors& tensors) {
    for (const auto& [name, tensor] : tensors) all[prefix + name] = tensor.to(at::kCPU).clone();
  };
  add("weights.", impl_->network.tensors());
  add("best.", impl_->best);
  for (const auto& [prefix, tensors] : impl_->moments()) add(prefix, tensors);
  all["numbers"] = at::tensor(
      {static_cast<double>(impl_->step), static_cast<double>(impl_->best_step), impl_->best_image}, at::kDouble);
  return all;
}

void EncoderTrainer::restore(const std::map<std::string, at::Tensor>& state) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  const at::Tensor numbers = saved_tensor(state, "numbers", at::kDouble, {3});
  const auto* values = numbers.const_data_ptr<double>();
  const auto steps = static_cast<double>(impl_->options.steps);
  const auto whole = [](double value, double most) {
    return value >= 0 && value <= most && value == std::floor(value);
  };
  if (!whole(values[0], steps) || !whole(values[1], values[0]) || std::isnan(values[2])) {
    throw Error(ErrorCode::Range, "The state's step, or its best one, is none of this training.",
                "Start anew, or ask for as many steps.");
  }
  auto moments = impl_->moments();
  for (const bool write : {false, true}) {  // all of it fits, or nothing changes
    const auto take = [&](const std::string& prefix, Tensors& tensors) {
      for (auto& [name, tensor] : tensors) {
        const at::Tensor from = saved_tensor(state, prefix + name, tensor);
        if (write) tensor.copy_(from);
      }
    };
    take("weights.", impl_->network.tensors());
    take("best.", impl_->best);
    for (auto& [prefix, tensors] : moments) take(prefix, tensors);
  }
  impl_->step = impl_->optimizer->steps = static_cast<std::int64_t>(values[0]);
  impl_->best_step = static_cast<std::int64_t>(values[1]);
  impl_->best_image = values[2];
}

std::map<std::string, at::Tensor> EncoderTrainer::weights(bool best) const {
  const c10::InferenceMode inference(false);
  std::map<std::string, at::Tensor> all;
  const bool validated = std::isfinite(impl_->best_image);
  for (const auto& [name, tensor] : best&& validated ? impl_->best : impl_->network.tensors()) {
    all[name] = tensor.to(at::kCPU).clone();
  }
  return all;
}

}  // namespace styleclip
