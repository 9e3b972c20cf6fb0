// See styleclip/training.h. What differs from the released code: latents may be drawn as training goes, the best weights by
// validation are kept, and a run that was stopped goes on to the same weights.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <utility>

#include "editing/objective.h"
#include "editing/ranger.h"
#include "relevance/batching.h"
#include "relevance/precision.h"
#include "runtime/philox.h"
#include "styleclip/error.h"
#include "styleclip/training.h"

namespace styleclip {
namespace {

constexpr std::int64_t kActivationsKept = 4;  // of a backward pass, as the optimiser estimates it

void check_options(const MapperTrainingOptions& options) {
  const auto positive = [](double value, const char* name) {
    if (std::isfinite(value) && value > 0) return;
    throw Error(ErrorCode::Range, std::string(name) + " is " + std::to_string(value) + ".", "Give a number above 0.");
  };
  positive(options.learning_rate, "learning_rate");
  positive(static_cast<double>(options.steps), "steps");
  positive(static_cast<double>(options.batch), "batch");
  positive(static_cast<double>(options.validate_every), "validate_every");
  positive(options.explosion, "explosion");
  if (!std::isfinite(options.shift) || options.shift < 0) {
    throw Error(ErrorCode::Range, "shift is " + std::to_string(options.shift) + ".",
                "Give a finite number that is not negative.");
  }
}

void check_latents(const at::Tensor& latents, const Mapper& mapper, const char* what) {
  std::vector<std::int64_t> shape;
  if (mapper.rows() > 0) shape.push_back(mapper.rows());
  shape.push_back(mapper.width());
  if (!latents.defined() || latents.dim() != static_cast<std::int64_t>(shape.size()) + 1 || latents.size(0) < 1 ||
      latents.sizes().slice(1) != at::IntArrayRef(shape)) {
    throw Error(ErrorCode::Shape, std::string(what) + " have not the shape that the mapper takes.",
                "Give latents of its space and generator, as a batch.");
  }
  if (!latents.isfinite().all().item<bool>()) {
    throw Error(ErrorCode::NotFinite, std::string(what) + " hold NaN or infinity.", "Look at where they come from.");
  }
}

MapperLoss mean_loss(const std::vector<ObjectiveValue>& values) {
  std::vector<at::Tensor> rows;
  rows.reserve(values.size());
  for (const ObjectiveValue& value : values) {
    rows.push_back(at::stack({value.total.detach(), value.clip, value.l2, value.id}, 1).to(at::kCPU, at::kDouble));
  }
  const at::Tensor mean = at::cat(rows).mean(0).contiguous();
  const double* const at = mean.const_data_ptr<double>();
  return {at[0], at[1], at[2], at[3]};
}

}  // namespace

struct MapperTrainer::Impl {
  Impl(Generator& model, std::shared_ptr<Mapper> trained, const MapperTrainingOptions& wanted)
      : options(wanted), generator(model), mapper(std::move(trained)), device(model.device()) {}

  bool in_s() const { return mapper->rows() == 0; }

  void check_mapper() const {
    const StyleLayout& layout = generator.layout();
    const bool fits = in_s() ? mapper->width() == layout.total()
                             : mapper->rows() == layout.rows && mapper->width() == generator.w_dim();
    if (!fits) {
      throw Error(ErrorCode::ModelMismatch, "The mapper takes latents of another shape than the generator.",
                  "Use a mapper for this generator's rows and widths.");
    }
    if (mapper->dtype() != "float32" || mapper->device() != generator.device()) {
      throw Error(ErrorCode::Argument,
                  "The mapper is in " + mapper->dtype() + " on " + mapper->device() +
                      "; it is trained in float32 on the generator's device.",
                  "Load it so.");
    }
  }

  // Squares of a change in S are averaged over each layer and summed over the layers (SC:mapper/training/coach.py).
  at::Tensor layer_scale() const {
    if (!in_s()) return {};
    const at::Tensor scale = at::full({generator.layout().total()}, 1.0, at::kFloat);
    for (const StyleLayer& layer : generator.layout().layers) {
      scale.narrow(0, layer.offset, layer.channels).fill_(1 / std::sqrt(static_cast<double>(layer.channels)));
    }
    return scale.to(device);
  }

  at::Tensor styles(const at::Tensor& latents) const { return in_s() ? latents : generator.styles(latents); }

  // What the loss holds against the picture that a latent gave before it was mapped.
  struct Source {
    at::Tensor identity;  // undefined where λ_ID is 0
    at::Tensor aims;      // [t, d] for all, or [n, t, d]

    Source narrow(std::int64_t begin, std::int64_t count) const {
      return {identity.defined() ? identity.narrow(0, begin, count) : identity,
              aims.dim() == 3 ? aims.narrow(0, begin, count) : aims};
    }
  };

  Source source_of(const at::Tensor& given) const {
    const bool shifted = options.shift > 0, compared = options.objective.lambda_id > 0;
    if (!shifted && !compared) return {{}, texts};
    const c10::AutoGradMode no_graph(false);
    const at::Tensor images = objective->pictures(styles(given));
    Source source{compared ? objective->identity(images) : at::Tensor(), texts};
    if (shifted) {
      const at::Tensor seen = unit(objective->embedding(images));
      source.aims = unit(seen.unsqueeze(1) + options.shift * unit(texts).unsqueeze(0)).contiguous();
    }
    return source;
  }

  static at::Tensor unit(const at::Tensor& rows) { return rows / at::linalg_vector_norm(rows, 2, {-1}, true); }

  ObjectiveValue value(const at::Tensor& given, const Source& source) const {
    const at::Tensor moved = mapper->apply(given);
    const at::Tensor images = objective->pictures(styles(moved));
    const at::Tensor change = scale.defined() ? (moved - given) * scale : moved - given;
    return objective->value(images, source.aims, change, at::zeros_like(change), source.identity);
  }

  // The order in which an epoch sees the given latents.
  const std::vector<std::int64_t>& order_of(std::int64_t number) {
    if (epoch == number && !order.empty()) return order;
    const std::int64_t count = latents.size(0);
    std::vector<float> keys(static_cast<std::size_t>(count));
    philox_uniform(keys.data(), count, options.seed, static_cast<std::uint32_t>(PhiloxStream::Shuffle),
                   static_cast<std::uint64_t>(number));
    order.resize(keys.size());
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&keys](std::int64_t a, std::int64_t b) {
      return keys[static_cast<std::size_t>(a)] < keys[static_cast<std::size_t>(b)];
    });
    epoch = number;
    return order;
  }

  at::Tensor batch_of(std::int64_t number) {
    const std::int64_t begin = number * options.batch;
    if (!latents.defined()) {
      return sample(generator, mapper->space(), options.batch, options.seed, begin, options.truncation_psi).to(device);
    }
    const std::int64_t count = latents.size(0);
    std::vector<std::int64_t> which;
    for (std::int64_t at = begin; at < begin + options.batch; ++at) {
      which.push_back(order_of(at / count)[static_cast<std::size_t>(at % count)]);
    }
    return latents.index_select(0, at::tensor(which, at::kLong).to(device));
  }

  // The mean over the validation's latents, in pieces that fit.
  MapperLoss validation_loss(const RunContext& run) const {
    const c10::AutoGradMode no_graph(false);
    std::vector<ObjectiveValue> values;
    for (std::int64_t begin = 0; begin < validation.size(0); begin += piece) {
      run.check();
      const std::int64_t count = std::min(piece, validation.size(0) - begin);
      values.push_back(value(validation.narrow(0, begin, count), validation_source.narrow(begin, count)));
    }
    run.check();
    return mean_loss(values);
  }

  void validate(const RunContext& run) {
    const MapperLoss loss = validation_loss(run);
    const bool lowest = std::isfinite(loss.total) && (best_step < 0 || loss.total < best);
    if (best_step < 0) first = loss.total;
    if (lowest) {
      best = loss.total;
      best_step = step;
      for (std::size_t i = 0; i < weights.size(); ++i) best_weights[i].copy_(weights[i].detach());
    }
    validated = step;
    log.push_back({step, true, lowest, loss});
    if (!std::isfinite(loss.total)) end = TrainingEnd::NotFinite;
  }

  void one_step(const RunContext& run) {
    const at::Tensor batch = batch_of(step);
    const Source source = source_of(batch);
    run.check();
    const c10::AutoGradMode graph(true);
    const ObjectiveValue loss = value(batch, source);
    run.check();
    std::vector<at::Tensor> gradients;
    for (at::Tensor& weight : weights) weight.mutable_grad().reset();
    loss.total.mean().backward({}, /*retain_graph=*/false, /*create_graph=*/false, at::TensorList(weights));
    bool finite = true;
    for (at::Tensor& weight : weights) {
      gradients.push_back(weight.grad().defined() ? weight.grad() : at::zeros_like(weight));
      finite = finite && gradients.back().isfinite().all().item<bool>();
      weight.mutable_grad().reset();
    }
    run.check();
    const c10::AutoGradMode no_graph(false);
    const MapperLoss mean = mean_loss({loss});
    log.push_back({step + 1, false, false, mean});
    if (!finite || !std::isfinite(mean.total)) {
      end = TrainingEnd::NotFinite;
      return;
    }
    if (mean.total > options.explosion * std::max(1.0, std::abs(first))) {
      end = TrainingEnd::Exploded;
      return;
    }
    optimizer->step(gradients);
    ++step;
  }

  // Every list of tensors of a state, under the name of its parameter.
  template <class Use>
  void each_tensor(Use&& use) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      use("weight/" + names[i], weights[i]);
      use("best/" + names[i], best_weights[i]);
      use("first/" + names[i], optimizer->first[i]);
      use("second/" + names[i], optimizer->second[i]);
      if (!optimizer->slow.empty()) use("slow/" + names[i], optimizer->slow[i]);
    }
  }

  MapperTrainingOptions options;
  Generator& generator;
  std::shared_ptr<Mapper> mapper;
  c10::Device device;
  std::unique_ptr<Objective> objective;
  at::Tensor texts, latents, validation, scale;
  Source validation_source;
  std::string config;              // of the mapper's archive
  std::vector<std::string> names;  // of the parameters
  std::vector<at::Tensor> weights, best_weights;
  std::unique_ptr<ParameterOptimizer> optimizer;
  std::vector<MapperLogEntry> log;
  std::vector<std::int64_t> order;
  std::int64_t epoch = -1, piece = 1;
  std::int64_t step = 0, best_step = -1, validated = -1;
  double best = std::numeric_limits<double>::infinity(), first = 0;
  TrainingEnd end = TrainingEnd::Running;
};

MapperTrainer::MapperTrainer(Generator& generator, Clip& clip, Identity* identity, std::shared_ptr<Mapper> mapper,
                             const at::Tensor& texts, const at::Tensor& latents, const at::Tensor& validation,
                             const MapperTrainingOptions& options, const RunContext& run) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode no_graph(false);
  const PrecisionGuard precision(Precision::Float32);
  check_options(options);
  impl_ = std::make_unique<Impl>(generator, std::move(mapper), options);
  Impl& impl = *impl_;
  impl.check_mapper();
  const nlohmann::json description = nlohmann::json::parse(impl.mapper->description().json);
  impl.config = description.value("config", nlohmann::json::object()).dump();
  ObjectiveOptions weights = options.objective;
  weights.l2_mean = !impl.in_s();
  impl.objective = std::make_unique<Objective>(generator, clip, identity, weights);
  if (!texts.defined() || texts.dim() != 2 || texts.size(0) < 1 || texts.size(1) != clip.embedding_dim()) {
    throw Error(ErrorCode::Shape, "The texts are not embeddings [texts, embedding].",
                "Encode them with the CLIP model of this run.");
  }
  if (latents.defined()) check_latents(latents, *impl.mapper, "The latents");
  check_latents(validation, *impl.mapper, "The validation's latents");
  const auto here = [&impl](const at::Tensor& tensor) { return tensor.to(impl.device, at::kFloat).contiguous(); };
  impl.texts = here(texts);
  if (latents.defined()) impl.latents = here(latents);
  impl.validation = here(validation);
  impl.scale = impl.layer_scale();
  impl.piece = choose_batch(0, 0, picture_bytes(generator.layout(), clip.image_size()), generator.device());
  std::vector<at::Tensor> identities, aims;
  for (std::int64_t begin = 0; begin < impl.validation.size(0); begin += impl.piece) {
    run.check();
    const std::int64_t count = std::min(impl.piece, impl.validation.size(0) - begin);
    const Impl::Source source = impl.source_of(impl.validation.narrow(0, begin, count));
    if (source.identity.defined()) identities.push_back(source.identity);
    if (source.aims.dim() == 3) aims.push_back(source.aims);
  }
  impl.validation_source = {identities.empty() ? at::Tensor() : at::cat(identities),
                            aims.empty() ? impl.texts : at::cat(aims)};
  for (const auto& [name, tensor] : impl.mapper->tensors()) {
    at::Tensor weight = tensor;
    weight.requires_grad_(true);
    impl.names.push_back(name);
    impl.weights.push_back(weight);
    impl.best_weights.push_back(weight.detach().clone());
  }
  if (impl.weights.empty()) {
    throw Error(ErrorCode::EmptySelection, "The mapper has no level to train.", "Keep at least one.");
  }
  impl.optimizer = std::make_unique<ParameterOptimizer>(options.optimizer, options.learning_rate, impl.weights);
}

MapperTrainer::~MapperTrainer() {
  if (impl_ == nullptr) return;
  for (at::Tensor& weight : impl_->weights) weight.requires_grad_(false);
}

bool MapperTrainer::advance(std::int64_t steps, const RunContext& run) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode no_graph(false);
  const PrecisionGuard precision(Precision::Float32);
  Impl& impl = *impl_;
  const std::int64_t until = std::min(impl.options.steps, impl.step + steps);
  try {
    if (impl.end == TrainingEnd::Running && impl.best_step < 0) impl.validate(run);
    while (impl.end == TrainingEnd::Running && impl.step < until) {
      run.check();
      impl.one_step(run);
      if (impl.end != TrainingEnd::Running) break;
      if (impl.step % impl.options.validate_every == 0 || impl.step == impl.options.steps) impl.validate(run);
    }
    // After an abort, or a state saved, between a step and its validation.
    const bool due = impl.step % impl.options.validate_every == 0 || impl.step == impl.options.steps;
    if (impl.end == TrainingEnd::Running && due && impl.validated != impl.step) impl.validate(run);
  } catch (...) {
    rethrow_translated("train a mapper");
  }
  if (impl.end == TrainingEnd::Running && impl.step == impl.options.steps) impl.end = TrainingEnd::Steps;
  return impl.end == TrainingEnd::Running;
}

TrainingEnd MapperTrainer::end() const { return impl_->end; }
std::int64_t MapperTrainer::step() const { return impl_->step; }
std::int64_t MapperTrainer::best_step() const { return std::max<std::int64_t>(0, impl_->best_step); }
double MapperTrainer::best() const { return impl_->best; }
std::vector<MapperLogEntry> MapperTrainer::take_log() { return std::exchange(impl_->log, {}); }

MapperTrainingState MapperTrainer::state() const {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode no_graph(false);
  MapperTrainingState state;
  impl_->each_tensor([&state](const std::string& name, const at::Tensor& tensor) {
    state.tensors[name] = tensor.detach().to(at::kCPU).clone();
  });
  state.step = impl_->step;
  state.best_step = impl_->best_step;
  state.validated = impl_->validated;
  state.best = impl_->best;
  state.first = impl_->first;
  return state;
}

void MapperTrainer::restore(const MapperTrainingState& state) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode no_graph(false);
  Impl& impl = *impl_;
  std::size_t known = 0;
  impl.each_tensor([&](const std::string& name, const at::Tensor& tensor) {
    const auto found = state.tensors.find(name);
    if (found == state.tensors.end() || found->second.sizes() != tensor.sizes()) {
      throw Error(ErrorCode::Shape, "The state is of another network: " + name + ".", "Start anew.");
    }
    ++known;
  });
  if (known != state.tensors.size()) {
    throw Error(ErrorCode::Shape, "The state has tensors that this network has not.", "Start anew.");
  }
  if (state.step < 0 || state.step > impl.options.steps || state.best_step > state.step) {
    throw Error(ErrorCode::Range, "The state is of step " + std::to_string(state.step) + ".",
                "Start anew, or ask for as many steps.");
  }
  impl.each_tensor([&](const std::string& name, at::Tensor& tensor) { tensor.copy_(state.tensors.at(name)); });
  impl.step = impl.optimizer->steps = state.step;
  impl.best_step = state.best_step;
  impl.best = state.best;
  impl.first = state.first;
  impl.validated = state.validated;
  impl.end = TrainingEnd::Running;
  impl.log.clear();
}

WrittenArchive MapperTrainer::write_best(const std::string& path, const std::string& licence,
                                         const std::string& training_json, const RunContext& run) const {
  std::map<std::string, at::Tensor> weights;
  for (std::size_t i = 0; i < impl_->names.size(); ++i) weights[impl_->names[i]] = impl_->best_weights[i].to(at::kCPU);
  MakeRequest request;
  request.kind = "mapper";
  request.config_json = impl_->config;
  request.weights = &weights;
  request.licence = licence;
  request.source_format = "styleclip mapper train";
  request.training_json = training_json;
  return write_archive(request, path, run);
}

at::Tensor MapperTrainer::sample(Generator& generator, const std::string& space, std::int64_t count, std::uint64_t seed,
                                 std::int64_t first, double truncation_psi) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode no_graph(false);
  const at::Tensor z = generator.sample_z(count, seed, first);
  const at::Tensor w =
      generator.label_dim() > 0 ? generator.mapping(z, generator.sample_labels(count, first)) : generator.mapping(z);
  const at::Tensor w_plus = generator.truncate(w, truncation_psi, -1);
  return space == "s" ? generator.styles(w_plus) : w_plus;
}

}  // namespace styleclip
