// See styleclip/inversion.h. Rows share nothing but the passes through the models.
#include "styleclip/inversion.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/roll.h>
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
#include <utility>

#include "editing/saved_state.h"
#include "relevance/batching.h"
#include "relevance/precision.h"
#include "runtime/philox.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;
constexpr double kRampUp = 0.05, kRampDown = 0.25, kNoiseRamp = 0.75;  // projector.py
constexpr std::int64_t kSmallestScale = 8, kPooling = 4, kSpreadSamples = 4096, kActivationsKept = 4;

enum Part : std::int64_t { kTotal, kPixel, kPooled, kFeature, kNoise, kStart, kParts };

double ramp(double t) {
  const double down = std::min(1.0, (1 - t) / kRampDown);
  return (0.5 - 0.5 * std::cos(std::numbers::pi * down)) * std::min(1.0, t / kRampUp);
}

at::Tensor unit(const at::Tensor& rows) { return rows / rows.norm(2, -1, true).clamp_min(1e-12); }

// [n]: Σ over maps and scales of the squared mean products of neighbours.
at::Tensor correlation(const std::vector<at::Tensor>& maps) {
  at::Tensor sum;
  for (at::Tensor map : maps) {
    while (true) {
      const auto along = [&map](std::int64_t axis) {
        return (map * at::roll(map, {1}, {axis})).mean({1, 2, 3}).square();
      };
      const at::Tensor here = along(2) + along(3);
      sum = sum.defined() ? sum + here : here;
      if (map.size(2) <= kSmallestScale) break;
      map = at::avg_pool2d(map, {2, 2});
    }
  }
  return sum;
}

}  // namespace

at::Tensor FeatureNetwork::features(const at::Tensor& images) const {
  if (clip != nullptr) return unit(clip->encode_image(clip->preprocess(images, Preprocess::Float)));
  if (identity != nullptr) return identity->embed(images);
  return perceptual->features(images);
}

at::Tensor FeatureNetwork::distance(const at::Tensor& images, const at::Tensor& target) const {
  if (perceptual != nullptr && clip == nullptr && identity == nullptr) return perceptual->distance(images, target);
  return (features(images) - target).square().sum(1);
}

struct Inverter::Impl {
  Impl(Generator& model, const FeatureNetwork& network, const InversionOptions& wanted)
      : generator(model), features(network), options(wanted), device(model.device()) {}

  void check() const {
    const auto weight = [](double value, const char* name) {
      if (std::isfinite(value) && value >= 0) return;
      throw Error(ErrorCode::Range, std::string(name) + " is " + std::to_string(value) + ".",
                  "Give a finite number that is not negative.");
    };
    weight(options.lambda_pixel, "lambda_pixel");
    weight(options.lambda_pooled, "lambda_pooled");
    weight(options.lambda_feature, "lambda_feature");
    weight(options.lambda_noise, "lambda_noise");
    weight(options.lambda_start, "lambda_start");
    weight(options.latent_noise, "latent_noise");
    if (!(options.learning_rate > 0) || !std::isfinite(options.learning_rate) || options.steps < 1 ||
        options.batch < 0) {
      throw Error(ErrorCode::Range, "learning_rate, steps or batch is out of range.",
                  "Give a rate above 0, at least 1 step, and a batch of 0 or more.");
    }
    if (options.lambda_feature > 0 && !features.any()) {
      throw Error(ErrorCode::Argument, "A feature loss without a network.", "Give one, or set its weight to 0.");
    }
  }

  void begin(const at::Tensor& images, const at::Tensor& start, const RunContext& run) {
    const std::int64_t side = generator.image_size(), rows = generator.layout().rows, width = generator.w_dim();
    if (!images.defined() || images.dim() != 4 || images.size(0) < 1 || images.size(1) != 3 || images.size(2) != side ||
        images.size(3) != side) {
      throw Error(ErrorCode::Shape,
                  "The pictures are not [n, 3, " + std::to_string(side) + ", " + std::to_string(side) +
                      "], the generator's size.",
                  "Resize them first.");
    }
    if (!images.isfinite().all().item<bool>()) {
      throw Error(ErrorCode::NotFinite, "The pictures hold NaN or infinity.", "Look at where they come from.");
    }
    const std::int64_t count = images.size(0);
    targets = images.to(device, at::kFloat).contiguous();
    const at::Tensor w = generator.label_dim() > 0 ? generator.mapping(generator.sample_z(kSpreadSamples, 0),
                                                                       generator.sample_labels(kSpreadSamples))
                                                   : generator.mapping(generator.sample_z(kSpreadSamples, 0));
    run.check();
    length = std::sqrt((w - w.mean(0)).square().sum(1).mean().item<double>());
    deviation = length / std::sqrt(static_cast<double>(width));
    const std::vector<std::int64_t> shape =
        options.w_plus ? std::vector<std::int64_t>{count, rows, width} : std::vector<std::int64_t>{count, width};
    if (start.defined()) {
      if (start.sizes() != at::IntArrayRef(shape)) {
        throw Error(ErrorCode::Shape, "The latents to begin at have another shape than the space and the pictures ask.",
                    "Give one for each picture.");
      }
      point = start.to(device, at::kFloat).clone();
    } else {
      const at::Tensor mean = generator.truncate(w.narrow(0, 0, 1), 0, -1)[0];  // [rows, width]
      point = (options.w_plus ? mean : mean[0]).unsqueeze(0).expand(shape).contiguous();
    }
    if (!point.isfinite().all().item<bool>()) {
      throw Error(ErrorCode::NotFinite, "The latents to begin at hold NaN or infinity.", "Give others.");
    }
    origin = point.clone();
    state = {point};
    if (options.noise_maps) {
      std::uint32_t stream = static_cast<std::uint32_t>(PhiloxStream::Noise);
      for (const std::int64_t r : generator.noise_sizes()) {
        const at::Tensor map = at::empty({count, 1, r, r}, at::kFloat);
        for (std::int64_t i = 0; i < count; ++i) {
          philox_normal(map.mutable_data_ptr<float>() + i * r * r, r * r, options.seed, stream,
                        static_cast<std::uint64_t>(i));
        }
        ++stream;
        state.push_back(map.to(device));
      }
    }
    for (const at::Tensor& tensor : state) {
      first.push_back(at::zeros_like(tensor));
      second.push_back(at::zeros_like(tensor));
      best.push_back(tensor.clone());
    }
    best_total = at::full({count}, std::numeric_limits<double>::infinity(), at::kDouble);
    best_step = at::zeros({count}, at::kLong);
    end = at::zeros({count}, at::kLong);
    curves = at::full({count, kParts, options.steps + 1}, std::numeric_limits<double>::quiet_NaN(), at::kDouble);
    batch =
        choose_batch(options.batch, 0, picture_bytes(generator.layout(), 256) * kActivationsKept, generator.device());
    if (options.lambda_feature > 0) {
      std::vector<at::Tensor> parts;
      for (std::int64_t i = 0; i < count; i += batch) {
        run.check();
        parts.push_back(features.features(targets.narrow(0, i, std::min(batch, count - i))));
      }
      target_features = at::cat(parts);
    }
  }

  at::Tensor render(const at::Tensor& latents, const std::vector<at::Tensor>& maps) const {
    const at::Tensor w_plus =
        options.w_plus ? latents
                       : latents.unsqueeze(1).expand({latents.size(0), generator.layout().rows, latents.size(1)});
    const at::Tensor s = generator.styles(w_plus);
    return maps.empty() ? generator.synthesis(s) : generator.synthesis(s, maps);
  }

  // How far latents are shaken at a step, in their own unit; 0 from 75 % of the steps on.
  double shaking() const {
    const double t = static_cast<double>(step) / static_cast<double>(options.steps);
    return length * options.latent_noise * std::pow(std::max(0.0, 1 - t / kNoiseRamp), 2);
  }

  at::Tensor shaken(const at::Tensor& latents, const std::vector<std::int64_t>& rows) const {
    const double amount = shaking();
    if (amount == 0) return latents;
    const at::Tensor noise = at::empty(latents.sizes(), at::kFloat);
    const std::int64_t each = latents[0].numel();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto sample = static_cast<std::uint64_t>(rows[i]) * static_cast<std::uint64_t>(options.steps + 1) +
                          static_cast<std::uint64_t>(step);
      philox_normal(noise.mutable_data_ptr<float>() + static_cast<std::int64_t>(i) * each, each, options.seed,
                    static_cast<std::uint32_t>(PhiloxStream::Restarts) + 1, sample);
    }
    return latents + noise.to(device) * amount;
  }

  struct Looked {
    at::Tensor losses, finite;          // [k, kParts] float64, [k] bool, on the CPU
    std::vector<at::Tensor> gradients;  // of latents and maps
  };
  Looked evaluate(const std::vector<std::int64_t>& rows, bool with_gradient) const {
    const at::Tensor index = at::tensor(rows, at::kLong).to(device);
    const c10::AutoGradMode mode(with_gradient);
    std::vector<at::Tensor> leaves;
    leaves.reserve(state.size());
    for (const at::Tensor& tensor : state) {
      leaves.push_back(tensor.index_select(0, index).detach().requires_grad_(with_gradient));
    }
    const std::vector<at::Tensor> maps(leaves.begin() + 1, leaves.end());
    const at::Tensor target = targets.index_select(0, index);
    const at::Tensor images = render(with_gradient ? shaken(leaves[0], rows) : leaves[0], maps);
    const at::Tensor difference = images - target;
    const at::Tensor pixel = difference.square().mean({1, 2, 3});
    const at::Tensor pooled = at::avg_pool2d(difference, {kPooling, kPooling}).square().mean({1, 2, 3});
    const at::Tensor nothing = at::zeros_like(pixel);
    const at::Tensor feature =
        options.lambda_feature > 0 ? features.distance(images, target_features.index_select(0, index)) : nothing;
    const at::Tensor noise = maps.empty() ? nothing : correlation(maps);
    const at::Tensor moved = ((leaves[0] - origin.index_select(0, index)) / deviation).square().flatten(1).mean(1);
    const at::Tensor total = options.lambda_pixel * pixel + options.lambda_pooled * pooled +
                             options.lambda_feature * feature + options.lambda_noise * noise +
                             options.lambda_start * moved;
    Looked looked;
    looked.finite = at::full({static_cast<std::int64_t>(rows.size())}, true, at::kBool);
    if (with_gradient) {
      total.sum().backward({}, false, false, at::TensorList(leaves));
      for (const at::Tensor& leaf : leaves) {
        looked.gradients.push_back(leaf.grad());
        looked.finite = looked.finite.logical_and(leaf.grad().flatten(1).isfinite().all(1).to(at::kCPU));
      }
    }
    looked.losses =
        at::stack({total.detach(), pixel.detach(), pooled.detach(), feature.detach(), noise.detach(), moved.detach()},
                  1)
            .to(at::kCPU, at::kDouble)
            .contiguous();
    return looked;
  }

  std::vector<std::int64_t> running() const {
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < end.size(0); ++i) {
      if (end.const_data_ptr<std::int64_t>()[i] == 0) rows.push_back(i);
    }
    return rows;
  }

  // Takes the losses of a row; false when it is done.
  bool record(std::int64_t row, const double* losses, bool finite, bool shaken_row) {
    double* const curve = curves.mutable_data_ptr<double>() + row * kParts * (options.steps + 1);
    for (std::int64_t part = 0; part < kParts; ++part) curve[part * (options.steps + 1) + step] = losses[part];
    const auto stop = [&](InversionEnd why) {
      end.mutable_data_ptr<std::int64_t>()[row] = static_cast<std::int64_t>(why);
      return false;
    };
    if (!finite || !std::isfinite(losses[kTotal])) return stop(InversionEnd::NotFinite);
    if (losses[kTotal] > options.explosion * std::max(1.0, curve[0])) return stop(InversionEnd::Exploded);
    double& lowest = best_total.mutable_data_ptr<double>()[row];
    if (!shaken_row && losses[kTotal] < lowest) {
      lowest = losses[kTotal];
      best_step.mutable_data_ptr<std::int64_t>()[row] = step;
      for (std::size_t i = 0; i < state.size(); ++i) best[i][row].copy_(state[i][row]);
    } else if (shaken_row) {
      // Until something has been seen as it is, the present is the best there is.
      for (std::size_t i = 0; i < state.size(); ++i) best[i][row].copy_(state[i][row]);
      best_step.mutable_data_ptr<std::int64_t>()[row] = step;
    }
    return step < options.steps || stop(InversionEnd::Steps);
  }

  // One evaluation of all rows that run, and, where asked, an update of those that go on. Nothing changes before all of it
  // is known.
  void look(bool with_gradient, const RunContext& run) {
    const std::vector<std::int64_t> rows = running();
    std::vector<Looked> parts;
    for (std::size_t from = 0; from < rows.size();) {
      run.check();
      const std::size_t count = std::min(rows.size() - from, static_cast<std::size_t>(batch));
      const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(from);
      try {
        parts.push_back(evaluate({begin, begin + static_cast<std::ptrdiff_t>(count)}, with_gradient));
        from += count;
      } catch (...) {
        try {
          rethrow_translated("invert pictures");
        } catch (const Error& error) {
          if (error.code() != ErrorCode::OutOfMemory || count <= 1) throw;
        }
        batch = std::max<std::int64_t>(1, static_cast<std::int64_t>(count) / 2);
      }
    }
    run.check();
    const bool shake = with_gradient && shaking() > 0;
    std::vector<std::int64_t> going;
    std::vector<std::pair<std::size_t, std::int64_t>> places;
    std::size_t at = 0;
    for (std::size_t p = 0; p < parts.size(); ++p) {
      for (std::int64_t k = 0; k < parts[p].losses.size(0); ++k, ++at) {
        const double* losses = parts[p].losses.const_data_ptr<double>() + k * kParts;
        if (!record(rows[at], losses, parts[p].finite.const_data_ptr<bool>()[k], shake)) continue;
        going.push_back(rows[at]);
        places.emplace_back(p, k);
      }
    }
    if (with_gradient && !going.empty()) update(going, places, parts);
  }

  void update(const std::vector<std::int64_t>& going, const std::vector<std::pair<std::size_t, std::int64_t>>& places,
              const std::vector<Looked>& parts) {
    const at::Tensor index = at::tensor(going, at::kLong).to(device);
    const double t = static_cast<double>(step) / static_cast<double>(options.steps);
    const auto number = static_cast<double>(step + 1);
    const double rate = options.learning_rate * (options.ramp ? ramp(t) : 1) / (1 - std::pow(kBeta1, number));
    const double correction = 1 - std::pow(kBeta2, number);
    for (std::size_t i = 0; i < state.size(); ++i) {
      std::vector<at::Tensor> rows;
      rows.reserve(places.size());
      for (const auto& [p, k] : places) rows.push_back(parts[p].gradients[i][k]);
      const at::Tensor g = at::stack(rows);
      const at::Tensor m = first[i].index_select(0, index) * kBeta1 + g * (1 - kBeta1);
      const at::Tensor v = second[i].index_select(0, index) * kBeta2 + g.square() * (1 - kBeta2);
      at::Tensor moved =
          state[i].index_select(0, index) -
          m / ((v / correction).sqrt() + kEpsilon) * (i == 0 && options.rate_in_sigmas ? rate * deviation : rate);
      if (i > 0) {  // a noise map
        moved = moved - moved.mean({1, 2, 3}, true);
        moved = moved * moved.square().mean({1, 2, 3}, true).rsqrt();
      }
      first[i].index_copy_(0, index, m);
      second[i].index_copy_(0, index, v);
      state[i].index_copy_(0, index, moved);
    }
  }

  Generator& generator;
  FeatureNetwork features;
  InversionOptions options;
  c10::Device device;
  at::Tensor targets, target_features, point, origin;
  std::vector<at::Tensor> state, first, second, best;  // latents, then noise maps
  at::Tensor best_total, best_step, end, curves;       // on the CPU
  double length = 1, deviation = 1;                    // of w around its mean: as a vector, of a number
  std::int64_t step = 0, batch = 1;
};

Inverter::Inverter(Generator& generator, const FeatureNetwork& features, const at::Tensor& images,
                   const at::Tensor& start, const InversionOptions& options, const RunContext& run) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  const PrecisionGuard precision(Precision::Float32);
  impl_ = std::make_unique<Impl>(generator, features, options);
  impl_->check();
  impl_->begin(images, start, run);
}

Inverter::~Inverter() = default;

bool Inverter::advance(std::int64_t steps, const RunContext& run) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  const PrecisionGuard precision(Precision::Float32);
  Impl& impl = *impl_;
  const std::int64_t until = std::min(impl.options.steps, impl.step + steps);
  while (impl.step < until && !impl.running().empty()) {
    impl.look(true, run);
    ++impl.step;
  }
  if (impl.step == impl.options.steps && !impl.running().empty()) impl.look(false, run);
  return !impl.running().empty();
}

std::int64_t Inverter::step() const { return impl_->step; }

double Inverter::loss() const {
  const Impl& impl = *impl_;
  const std::int64_t count = impl.end.size(0);
  double sum = 0;
  for (std::int64_t row = 0; row < count; ++row) {
    const double* totals = impl.curves.const_data_ptr<double>() + row * kParts * (impl.options.steps + 1);
    std::int64_t at = impl.step;
    while (at > 0 && std::isnan(totals[at])) --at;
    sum += totals[at];
  }
  return sum / static_cast<double>(count);
}

SavedState Inverter::state() const {
  const c10::InferenceMode inference(false);
  const Impl& impl = *impl_;
  SavedState all = {{"origin", impl.origin},       {"best_total", impl.best_total},
                    {"best_step", impl.best_step}, {"end", impl.end},
                    {"curves", impl.curves},       {"step", at::full({1}, impl.step, at::kLong)}};
  for (std::size_t i = 0; i < impl.state.size(); ++i) {
    const std::string number = std::to_string(i);
    all["point." + number] = impl.state[i];
    all["first." + number] = impl.first[i];
    all["second." + number] = impl.second[i];
    all["best." + number] = impl.best[i];
  }
  for (auto& [name, tensor] : all) tensor = tensor.to(at::kCPU).clone();
  return all;
}

void Inverter::restore(const SavedState& state) {
  const c10::InferenceMode inference(false);
  const c10::AutoGradMode gradient(false);
  Impl& impl = *impl_;
  const auto step = saved_tensor(state, "step", at::kLong, {1}).item<std::int64_t>();
  const at::Tensor end = saved_tensor(state, "end", impl.end);
  if (step < 0 || step > impl.options.steps || end.lt(0).any().item<bool>() ||
      end.gt(static_cast<std::int64_t>(InversionEnd::Exploded)).any().item<bool>()) {
    throw Error(ErrorCode::Range, "The state's step, or an end in it, is none of this inversion.", "Start anew.");
  }
  for (const bool write : {false, true}) {
    const auto take = [&](const std::string& name, at::Tensor& tensor) {
      const at::Tensor from = saved_tensor(state, name, tensor);
      if (write) tensor.copy_(from);
    };
    take("origin", impl.origin);
    take("best_total", impl.best_total);
    take("best_step", impl.best_step);
    take("end", impl.end);
    take("curves", impl.curves);
    for (std::size_t i = 0; i < impl.state.size(); ++i) {
      const std::string number = std::to_string(i);
      take("point." + number, impl.state[i]);
      take("first." + number, impl.first[i]);
      take("second." + number, impl.second[i]);
      take("best." + number, impl.best[i]);
    }
  }
  impl.step = step;
}

Inverter::Result Inverter::result(bool best) const {
  const c10::InferenceMode inference(false);
  const std::vector<at::Tensor>& from = best ? impl_->best : impl_->state;
  Result result;
  result.latents = from.front().to(at::kCPU).clone();
  for (std::size_t i = 1; i < from.size(); ++i) result.noise.push_back(from[i].to(at::kCPU).clone());
  result.curves = impl_->curves.clone();
  result.best_step = impl_->best_step.clone();
  result.end = impl_->end.clone();
  return result;
}

}  // namespace styleclip
