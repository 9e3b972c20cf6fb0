// See styleclip/optimizer.h. A row is one start of one problem; rows share nothing but the passes through the models.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <utility>

#include "editing/objective.h"
#include "relevance/batching.h"
#include "relevance/precision.h"
#include "runtime/philox.h"
#include "styleclip/error.h"
#include "styleclip/optimizer.h"

namespace styleclip {
namespace {

constexpr double kRampUp = 0.05, kRampDown = 0.25;  // SC:optimization/run_optimization.py, get_lr
constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;
constexpr std::int64_t kSpreadSamples = 4096;  // latents from which σ is estimated
constexpr double kTruncation = 0.7;            // of the latents that StyleCLIP edits
// A graph for the backward pass keeps every activation, where a plain forward lets them go.
constexpr std::int64_t kActivationsKept = 4;

enum Part : std::int64_t { kTotal, kClip, kL2, kId, kParts };

// Factor of the learning rate at t in [0, 1] (Karras et al., arXiv 1912.04958, projector.py; the same in StyleCLIP).
double ramp(double t) {
  const double down = std::min(1.0, (1 - t) / kRampDown);
  return (0.5 - 0.5 * std::cos(std::numbers::pi * down)) * std::min(1.0, t / kRampUp);
}

void check_options(const OptimizerOptions& options) {
  const auto positive = [](double value, const char* name) {
    if (std::isfinite(value) && value > 0) return;
    throw Error(ErrorCode::Range, std::string(name) + " is " + std::to_string(value) + ".", "Give a number above 0.");
  };
  positive(options.learning_rate, "learning_rate");
  positive(static_cast<double>(options.steps), "steps");
  positive(static_cast<double>(options.restarts), "restarts");
  positive(options.explosion, "explosion");
  if (options.patience < 0 || options.batch < 0 || !(options.tolerance >= 0) || !(options.spread >= 0)) {
    throw Error(ErrorCode::Range, "patience, batch, tolerance or spread is negative.", "Give 0 or more.");
  }
}

}  // namespace

struct LatentOptimizer::Impl {
  Impl(Generator& model, Clip& clip, Identity* identity, OptimizerOptions wanted, const RunContext& run)
      : options(std::move(wanted)), generator(model), device(model.device()) {
    sigma = deviations(run);
    unit = units();
    const double moving = unit.ne(0).sum().item<double>();
    if (moving == 0) throw Error(ErrorCode::EmptySelection, "No number of the latents may move.", "Name other layers.");
    // The mean is one over the numbers that move.
    ObjectiveOptions sums = options.objective;
    if (sums.l2_mean) {
      l2_count = moving;
      sums.lambda_l2 /= moving;
      sums.l2_mean = false;
    }
    objective = std::make_unique<Objective>(generator, clip, identity, sums);
  }

  const StyleLayout& layout() const { return generator.layout(); }

  std::vector<std::int64_t> latent_shape() const {
    switch (options.space) {
      case LatentSpace::W: return {generator.w_dim()};
      case LatentSpace::WPlus: return {layout().rows, generator.w_dim()};
      case LatentSpace::S: break;
    }
    return {layout().total()};
  }

  void check_sources(const at::Tensor& given) const {
    const std::vector<std::int64_t> shape = latent_shape();
    if (!given.defined() || given.dim() != static_cast<std::int64_t>(shape.size()) + 1 || given.size(0) < 1 ||
        given.sizes().slice(1) != at::IntArrayRef(shape)) {
      throw Error(ErrorCode::Shape, "The latents have not the shape that the generator takes in this space.",
                  "Give latents of this generator, as a batch.");
    }
    if (!given.isfinite().all().item<bool>()) {
      throw Error(ErrorCode::NotFinite, "The latents hold NaN or infinity.", "Look at where they come from.");
    }
  }

  // σ of each number over random latents, in the latent's shape.
  at::Tensor deviations(const RunContext& run) const {
    const at::Tensor z = generator.sample_z(kSpreadSamples, 0);
    const at::Tensor w = generator.label_dim() > 0 ? generator.mapping(z, generator.sample_labels(kSpreadSamples))
                                                   : generator.mapping(z);
    run.check();
    const at::Tensor w_plus = generator.truncate(w, kTruncation, -1);
    const at::Tensor of_one =
        options.space == LatentSpace::S ? generator.styles(w_plus).std(0, false) : w_plus.select(1, 0).std(0, false);
    return of_one.to(device, at::kFloat).expand(latent_shape()).contiguous();
  }

  // What a step of 1 in coordinates is in the latent's own numbers; 0 for what stays as it is.
  at::Tensor units() const {
    at::Tensor length = options.in_sigmas ? sigma : at::ones_like(sigma);
    if (options.space != LatentSpace::S) return length;
    const at::Tensor moving = at::zeros({layout().total()}, at::kFloat);
    for (const std::int64_t channel : layout().select(options.layers)) moving[channel].fill_(1);
    return length * moving.to(device);
  }

  at::Tensor at_point(const at::Tensor& point) const { return sources + unit * point; }

  // Latents -> S.
  at::Tensor styles(const at::Tensor& latents) const {
    if (options.space == LatentSpace::S) return latents;
    if (options.space == LatentSpace::WPlus) return generator.styles(latents);
    return generator.styles(latents.unsqueeze(1).expand({latents.size(0), layout().rows, latents.size(1)}));
  }

  std::int64_t rows() const { return state.reason.size(0); }

  std::vector<std::int64_t> running_rows() const {
    std::vector<std::int64_t> running;
    const std::int64_t* reason = state.reason.const_data_ptr<std::int64_t>();
    for (std::int64_t row = 0; row < rows(); ++row) {
      if (reason[row] == static_cast<std::int64_t>(StopReason::Running)) running.push_back(row);
    }
    return running;
  }

  // Losses [k, kParts] float64 of some rows at their points, on the CPU; where wanted the gradients of their totals too, and
  // which of these are finite.
  struct Evaluated {
    at::Tensor losses, gradient, finite;
  };
  Evaluated evaluate(const std::vector<std::int64_t>& which, bool with_gradient) const {
    const at::Tensor index = at::tensor(which, at::kLong).to(device);
    const c10::AutoGradMode mode(with_gradient);
    at::Tensor point = state.point.index_select(0, index).detach();
    if (with_gradient) point.requires_grad_(true);
    const at::Tensor images = objective->pictures(styles(sources.index_select(0, index) + unit * point));
    const ObjectiveValue value = objective->value(
        images, texts.size(0) == 1 ? texts[0] : texts.index_select(0, index), point, at::zeros_like(point),
        source_identity.defined() ? source_identity.index_select(0, index) : at::Tensor());
    Evaluated result;
    if (with_gradient) {
      value.total.sum().backward({}, /*retain_graph=*/false, /*create_graph=*/false, at::TensorList(point));
      result.gradient = point.grad();
      result.finite = result.gradient.flatten(1).isfinite().all(1).to(at::kCPU);
    } else {
      result.finite = at::ones({point.size(0)}, at::kBool);
    }
    result.losses = at::stack({value.total.detach(), value.clip, value.l2 / l2_count, value.id}, 1)
                        .to(at::kCPU, at::kDouble)
                        .contiguous();
    return result;
  }

  // One evaluation of all running rows, batch by batch: writes the curves, moves the best, stops rows. Gives the rows that
  // go on, and their gradients. Nothing of the state changes before all of it is known: an abort leaves the last whole step.
  std::pair<std::vector<std::int64_t>, at::Tensor> look(bool with_gradient, const RunContext& run) {
    const std::vector<std::int64_t> all = running_rows();
    std::vector<at::Tensor> losses, gradients, finite;
    for (std::size_t first = 0; first < all.size();) {
      run.check();
      const std::size_t count = std::min(all.size() - first, static_cast<std::size_t>(batch));
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
      try {
        Evaluated some = evaluate({begin, begin + static_cast<std::ptrdiff_t>(count)}, with_gradient);
        losses.push_back(std::move(some.losses));
        finite.push_back(std::move(some.finite));
        if (with_gradient) gradients.push_back(std::move(some.gradient));
        first += count;
      } catch (...) {
        halve_or_rethrow(static_cast<std::int64_t>(count));
      }
    }
    run.check();
    const at::Tensor table = at::cat(losses), usable = at::cat(finite);
    std::vector<std::int64_t> rows, places;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (!record(all[i], table.const_data_ptr<double>() + i * kParts, usable.const_data_ptr<bool>()[i])) continue;
      rows.push_back(all[i]);
      places.push_back(static_cast<std::int64_t>(i));
    }
    at::Tensor gradient;
    if (with_gradient && !rows.empty()) {
      gradient = at::cat(gradients).index_select(0, at::tensor(places, at::kLong).to(device));
    }
    return {std::move(rows), std::move(gradient)};
  }

  void halve_or_rethrow(std::int64_t count) {
    try {
      rethrow_translated("optimise latents");
    } catch (const Error& error) {
      if (error.code() != ErrorCode::OutOfMemory || count <= 1) throw;
    }
    batch = std::max<std::int64_t>(1, count / 2);
  }

  // Takes the losses of a row after `step` updates; false when the row is done.
  bool record(std::int64_t row, const double* losses, bool finite) {
    const double total = losses[kTotal];
    double* const curves = state.curves.mutable_data_ptr<double>() + row * kParts * (options.steps + 1);
    for (std::int64_t part = 0; part < kParts; ++part) curves[part * (options.steps + 1) + state.step] = losses[part];
    const auto stop = [&](StopReason why) {
      state.reason.mutable_data_ptr<std::int64_t>()[row] = static_cast<std::int64_t>(why);
      return false;
    };
    if (!finite || !std::isfinite(total)) return stop(StopReason::NotFinite);
    if (total > options.explosion * std::max(1.0, std::abs(curves[0]))) return stop(StopReason::Exploded);
    double& best = state.best_total.mutable_data_ptr<double>()[row];
    if (total < best) {
      best = total;
      state.best_step.mutable_data_ptr<std::int64_t>()[row] = state.step;
      state.best[row].copy_(state.point[row]);
    }
    if (state.step == options.steps) return stop(StopReason::Steps);
    double* const mark = state.mark.mutable_data_ptr<double>() + row * 2;
    if (state.step == 0 || total < mark[0] - options.tolerance) {
      mark[0] = total;
      mark[1] = static_cast<double>(state.step);
    } else if (options.patience > 0 &&
               static_cast<double>(state.step) - mark[1] >= static_cast<double>(options.patience)) {
      return stop(StopReason::Plateau);
    }
    return true;
  }

  // Adam (arXiv 1412.6980) on the rows that go on; all of them have made the same number of steps.
  void update(const std::vector<std::int64_t>& rows, const at::Tensor& g) {
    if (rows.empty()) return;
    const at::Tensor index = at::tensor(rows, at::kLong).to(device);
    const auto number = static_cast<double>(state.step + 1);
    const at::Tensor m = state.first_moment.index_select(0, index) * kBeta1 + g * (1 - kBeta1);
    const at::Tensor v = state.second_moment.index_select(0, index) * kBeta2 + g.square() * (1 - kBeta2);
    const double place = static_cast<double>(state.step) + (options.idle_first_step ? 0 : 0.5);
    const double rate = options.learning_rate * ramp(place / static_cast<double>(options.steps));
    const at::Tensor root = (v / (1 - std::pow(kBeta2, number))).sqrt() + kEpsilon;
    const at::Tensor step = m / root * (rate / (1 - std::pow(kBeta1, number)));
    state.first_moment.index_copy_(0, index, m);
    state.second_moment.index_copy_(0, index, v);
    state.point.index_add_(0, index, step, -1);
  }

  OptimizerOptions options;
  Generator& generator;
  c10::Device device;
  std::unique_ptr<Objective> objective;
  at::Tensor sources, texts, source_identity;  // a row each; texts may have one for all
  at::Tensor sigma, unit;                      // of one latent
  double l2_count = 1;                         // what a sum of squares is divided by
  std::int64_t batch = 1;
  OptimizerState state;  // points, moments and best on the device, the rest on the CPU
};

LatentOptimizer::LatentOptimizer(Generator& generator, Clip& clip, Identity* identity, const at::Tensor& sources,
                                 const at::Tensor& texts, const OptimizerOptions& options, const RunContext& run) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  const PrecisionGuard precision(Precision::Float32);
  check_options(options);
  impl_ = std::make_unique<Impl>(generator, clip, identity, options, run);
  Impl& impl = *impl_;
  impl.check_sources(sources);
  const std::int64_t problems = sources.size(0);
  const bool fits = texts.defined() && texts.dim() == 3 && texts.size(1) > 0 && texts.size(2) == clip.embedding_dim();
  if (!fits || (texts.size(0) != 1 && texts.size(0) != problems)) {
    throw Error(ErrorCode::Shape, "The texts are not embeddings [problems or 1, texts, embedding].",
                "Encode them with the CLIP model of this run.");
  }
  const auto repeated = [&](const at::Tensor& one) { return one.repeat_interleave(options.restarts, 0); };
  impl.sources = repeated(sources.to(impl.device, at::kFloat)).contiguous();
  const at::Tensor aims = texts.to(impl.device, at::kFloat);
  impl.texts = aims.size(0) == 1 ? aims : repeated(aims);
  const std::int64_t bytes = picture_bytes(generator.layout(), clip.image_size());
  impl.batch = choose_batch(options.batch, 0, bytes * kActivationsKept, generator.device());

  const std::int64_t rows = problems * options.restarts;
  OptimizerState& state = impl.state;
  state.point = at::zeros_like(impl.sources);
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t restart = row % options.restarts;
    if (restart == 0) continue;
    const at::Tensor away = at::empty(state.point.sizes().slice(1), at::kFloat);
    philox_normal(away.mutable_data_ptr<float>(), away.numel(), options.seed,
                  static_cast<std::uint32_t>(PhiloxStream::Restarts), static_cast<std::uint64_t>(row));
    // One σ in coordinates is 1 where these are σ's, else the σ itself; what stays stays.
    const at::Tensor away_units = options.in_sigmas ? away.to(impl.device) : away.to(impl.device) * impl.sigma;
    state.point[row].copy_(away_units * options.spread * impl.unit.ne(0));
  }
  state.first_moment = at::zeros_like(state.point);
  state.second_moment = at::zeros_like(state.point);
  state.best = state.point.clone();
  state.best_total = at::full({rows}, std::numeric_limits<double>::infinity(), at::kDouble);
  state.best_step = at::zeros({rows}, at::kLong);
  state.curves = at::full({rows, kParts, options.steps + 1}, std::numeric_limits<double>::quiet_NaN(), at::kDouble);
  state.reason = at::zeros({rows}, at::kLong);
  state.mark = at::zeros({rows, 2}, at::kDouble);

  if (options.objective.lambda_id > 0) {
    std::vector<at::Tensor> parts;
    for (std::int64_t first = 0; first < problems; first += impl.batch) {
      run.check();
      const at::Tensor some =
          sources.to(impl.device, at::kFloat).narrow(0, first, std::min(impl.batch, problems - first));
      parts.push_back(impl.objective->identity(impl.objective->pictures(impl.styles(some))));
    }
    impl.source_identity = repeated(at::cat(parts));
  }
}

LatentOptimizer::~LatentOptimizer() = default;

bool LatentOptimizer::advance(std::int64_t steps, const RunContext& run) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  const PrecisionGuard precision(Precision::Float32);
  Impl& impl = *impl_;
  const std::int64_t until = std::min(impl.options.steps, impl.state.step + steps);
  ProgressMeter meter(run, "optimize", impl.options.steps, "steps");
  while (running() && impl.state.step < until) {
    const auto [rows, step] = impl.look(true, run);
    impl.update(rows, step);
    ++impl.state.step;
    meter.step(1);
  }
  if (running() && impl.state.step == impl.options.steps) impl.look(false, run);
  return running();
}

bool LatentOptimizer::running() const { return !impl_->running_rows().empty(); }
std::int64_t LatentOptimizer::step() const { return impl_->state.step; }

at::Tensor LatentOptimizer::best_totals() const {
  const c10::InferenceMode inference(false);
  return impl_->state.best_total.clone();
}

OptimizerState LatentOptimizer::state() const {
  OptimizerState copy = impl_->state;
  for (at::Tensor* tensor : {&copy.point, &copy.first_moment, &copy.second_moment, &copy.best, &copy.best_total,
                             &copy.best_step, &copy.curves, &copy.reason, &copy.mark}) {
    *tensor = tensor->to(at::kCPU).clone();
  }
  return copy;
}

void LatentOptimizer::restore(const OptimizerState& state) {
  OptimizerState& own = impl_->state;
  if (state.step < 0 || state.step > impl_->options.steps) {
    throw Error(ErrorCode::Range, "The state is of step " + std::to_string(state.step) + ".", "Start anew.");
  }
  for (const bool write : {false, true}) {  // all of it fits, or nothing changes
    const auto take = [write](at::Tensor& to, const at::Tensor& from) {
      if (!from.defined() || from.sizes() != to.sizes() || from.scalar_type() != to.scalar_type()) {
        throw Error(ErrorCode::Shape, "The state belongs to another run.", "Start anew.");
      }
      if (write) to.copy_(from);
    };
    take(own.point, state.point);
    take(own.first_moment, state.first_moment);
    take(own.second_moment, state.second_moment);
    take(own.best, state.best);
    take(own.best_total, state.best_total);
    take(own.best_step, state.best_step);
    take(own.curves, state.curves);
    take(own.reason, state.reason);
    take(own.mark, state.mark);
    const bool known = state.reason.ge(static_cast<std::int64_t>(StopReason::Running)).all().item<bool>() &&
                       state.reason.le(static_cast<std::int64_t>(StopReason::Exploded)).all().item<bool>();
    if (!known) throw Error(ErrorCode::Range, "A reason to stop in the state is none.", "Start anew.");
  }
  own.step = state.step;
}

at::Tensor LatentOptimizer::latents(bool best) const {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  return impl_->at_point(best ? impl_->state.best : impl_->state.point);
}

}  // namespace styleclip
