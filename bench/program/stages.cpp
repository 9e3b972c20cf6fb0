// Where an exact sweep's time goes. Its parts are called directly, on a folded picture's own activations and at the batch
// that the sweep would use; a part's share of the sweep is its seconds a picture times the pictures that go through it.
// Each stands beside its arithmetic floor: the larger of its operations at the rate of a large matrix product, and of the
// bytes that it must read and write at the rate of a large copy, both measured in this run.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "contenders.h"
#include "floors.h"
#include "questions.h"
#include "relevance/batching.h"
#include "relevance/exact/canvas.h"
#include "relevance/exact/layers.h"
#include "relevance/exact/network.h"
#include "relevance/exact/painter.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"
#include "timing.h"

namespace styleclip::bench {
namespace {

using nlohmann::ordered_json;

struct Stage {
  std::string name, kind;   // kind: "base", "perturbed", "sameSize", "transposed", "canvas", "clip", "sums"
  double seconds = 0;       // of one call
  double pictures = 0;      // of one call
  double in_sweep = 0;      // pictures (base: sample pictures) that go through in the sweep
  double flops = 0;         // of one call
  double bytes = 0;         // of one call, each number once
  std::int64_t inputs = 0;  // channels, of layers
};

class StageTimer {
 public:
  StageTimer(const Models& models, Precision precision, const Load& load, std::int64_t batch)
      : models_(models),
        device_(models.generator->device()),
        precision_(precision),
        load_(load),
        batch_(batch / 2 * 2) {
    std::optional<exact::Network> network = exact::read_network(*models.generator);
    if (!network) throw Error(ErrorCode::Argument, "The exact sweep cannot take this generator apart.", "Use another.");
    network_ = std::move(*network);
    number_ = static_cast<double>(at::elementSize(scalar_type(precision)));
  }

  std::vector<Stage> measure() {
    const c10::InferenceMode guard;
    const exact::Canvas canvas(network_, models_.clip->image_size());
    const SweepInputs inputs = make_inputs();
    std::vector<at::Tensor> styles = models_.generator->layout().unflatten(inputs.base.narrow(0, 0, 1));
    for (at::Tensor& style : styles) style = style[0];
    std::vector<at::Tensor> noise;
    for (const exact::Conv& conv : network_.convs) noise.push_back(conv.noise);

    add({"base pass", "base", seconds([&] { exact::Painter(network_, canvas, styles, noise, {scalar_type(precision_), 0}); }), 1,
         static_cast<double>(load_.images), base_flops(), 0, 0});

    at::Tensor x =
        network_.input.unsqueeze(0).to(scalar_type(precision_)).contiguous(at::MemoryFormat::ChannelsLast);
    at::Tensor picture = at::zeros({batch_, 3, canvas.size(), canvas.size()}, network_.input.options());
    double changed = 0;  // pictures that reach this layer already changed
    for (std::size_t i = 0; i < network_.convs.size(); ++i) {
      const exact::Conv& conv = network_.convs[i];
      const std::string name = models_.generator->layout().layers[static_cast<std::size_t>(conv.layer)].name;
      const at::Tensor& style = styles[static_cast<std::size_t>(conv.layer)];
      const exact::FoldedConv folded = exact::fold(conv, style, noise[i], network_.limit(), scalar_type(precision_));
      exact::FoldedRgb rgb;
      if (i % 2 == 0) {
        const exact::ToRgb& to_rgb = network_.to_rgbs[i / 2];
        rgb = exact::fold(to_rgb, styles[static_cast<std::size_t>(to_rgb.layer)], network_.limit());
      }
      const exact::FoldedRgb* next = i % 2 == 0 ? &rgb : nullptr;
      exact::Painting one{next, &canvas, i / 2, picture.narrow(0, 0, 1)};
      exact::Painting all{next, &canvas, i / 2, picture};
      const std::int64_t side = conv.resolution, from = conv.up ? side / 2 : side;
      const double outputs = static_cast<double>(conv.outputs * side * side);

      const exact::LayerBase base = exact::layer_base(conv, x[0], style);
      const std::int64_t k = std::min(batch_ / 2, conv.inputs);
      const at::Tensor channels = at::arange(k, at::TensorOptions(device_).dtype(at::kLong));
      const at::Tensor plus = style.index_select(0, channels) + 1, minus = plus - 2;
      exact::Painting pairs = all.narrow(0, 2 * k);
      const double own = 2 * static_cast<double>(conv.inputs * load_.images);
      add({name, "perturbed", seconds([&] { exact::perturbed_layer(folded, base, channels, plus, minus, pairs); }),
           2 * static_cast<double>(k), own, static_cast<double>(k) * outputs * (2 * 9 + 2 * 6),
           2 * static_cast<double>(k) * outputs * number_, conv.inputs});

      const at::Tensor made = exact::run_layer(folded, x, one);
      if (i > 0) {
        const at::Tensor many = x.expand({batch_, -1, -1, -1}).contiguous(at::MemoryFormat::ChannelsLast);
        const bool keep = i + 1 < network_.convs.size();
        add({name, conv.up ? "transposed" : "sameSize", seconds([&] { exact::run_layer(folded, many, all, keep); }),
             static_cast<double>(batch_), changed,
             static_cast<double>(batch_) * conv_flops(conv.inputs, conv.outputs, from),
             static_cast<double>(batch_) * number_ *
                 (static_cast<double>(conv.inputs * from * from) + (keep ? outputs : 0)),
             conv.inputs});
      }
      changed += own;
      if (next != nullptr) {
        const at::Tensor many = made.expand({batch_, -1, -1, -1}).contiguous(at::MemoryFormat::ChannelsLast);
        add({models_.generator->layout().layers[static_cast<std::size_t>(network_.to_rgbs[i / 2].layer)].name, "canvas",
             seconds([&] {
               add_to_canvas(many, rgb.weight, rgb.bias, rgb.limit, canvas.matrix(i / 2), picture);
             }),
             static_cast<double>(batch_), changed, 0,
             number_ * static_cast<double>(many.numel()) + 8.0 * static_cast<double>(picture.numel()),
             network_.to_rgbs[i / 2].inputs});
      }
      x = made;
    }
    at::Tensor embedding;
    add({"CLIP", "clip",
         seconds([&] { embedding = models_.clip->encode_image(models_.clip->preprocess(picture, Preprocess::Float)); }),
         static_cast<double>(batch_), changed, static_cast<double>(batch_) * clip_flops(*models_.clip),
         4.0 * static_cast<double>(picture.numel()), 0});
    const std::int64_t k = batch_ / 2;
    RelevanceSums sums(k, models_.clip->embedding_dim(), device_);
    const at::Tensor noisy = embedding + 0.1 * at::randn(embedding.sizes(), embedding.options());
    add({"sums", "sums", seconds([&] {
           sums.add(0, noisy.narrow(0, 0, k).unsqueeze(1), noisy.narrow(0, k, k).unsqueeze(1));
           sums.first_not_finite(0, k);
         }),
         static_cast<double>(batch_), changed, 0, 4.0 * static_cast<double>(embedding.numel()), 0});
    return stages_;
  }

 private:
  void add(Stage stage) { stages_.push_back(std::move(stage)); }

  double seconds(const std::function<void()>& work) const { return typical_seconds(device_, work); }

  SweepInputs make_inputs() const {
    SweepOptions options;
    options.images = 1;
    options.layers = load_.layers;
    return make_sweep_inputs(*models_.generator, models_.statistics, options, {});
  }

  // Each layer twice: once folded, for what follows, once linear, for what perturbs it.
  double base_flops() const {
    double sum = 0;
    for (const exact::Conv& conv : network_.convs) {
      const std::int64_t from = conv.up ? conv.resolution / 2 : conv.resolution;
      sum += 2 * conv_flops(conv.inputs, conv.outputs, from);
    }
    return sum;
  }

  const Models& models_;
  at::Device device_;
  Precision precision_;
  Load load_;
  std::int64_t batch_;
  double number_ = 4;
  exact::Network network_;
  std::vector<Stage> stages_;
};

ordered_json to_json(const Stage& stage, double gflops, double gbs, double sweep_seconds) {
  const double floor = std::max(stage.flops / gflops, stage.bytes / gbs) * 1e-9;
  return {{"name", stage.name},
          {"kind", stage.kind},
          {"inputs", stage.inputs},
          {"secondsPerPicture", stage.seconds / stage.pictures},
          {"shareOfSweep", stage.seconds / stage.pictures * stage.in_sweep / sweep_seconds},
          {"gflops", stage.flops / stage.seconds * 1e-9},
          {"gigabytesPerSecond", stage.bytes / stage.seconds * 1e-9},
          {"shareOfMatmul", stage.flops / stage.seconds * 1e-9 / gflops},
          {"shareOfCopy", stage.bytes / stage.seconds * 1e-9 / gbs},
          {"bound", stage.flops / gflops > stage.bytes / gbs ? "matmul" : "copy"},
          {"timesFloor", floor > 0 ? ordered_json(stage.seconds / floor) : ordered_json(nullptr)}};
}

// Operations of some stages, as the sweep weighs them, over the seconds of these and others, beside the matrix product.
template <typename Counted, typename Timed>
ordered_json share(const std::vector<Stage>& stages, double gflops, Counted&& counted, Timed&& timed) {
  double flops = 0, seconds = 0;
  for (const Stage& stage : stages) {
    const double calls = stage.in_sweep / stage.pictures;
    if (counted(stage)) flops += stage.flops * calls;
    if (timed(stage)) seconds += stage.seconds * calls;
  }
  return flops > 0 && seconds > 0 ? ordered_json(flops / seconds * 1e-9 / gflops) : ordered_json(nullptr);
}

}  // namespace

ordered_json answer_stages(const Arguments& arguments) {
  const Models models = load_models(arguments);
  const Load load = load_of(arguments);
  const std::int64_t batch =
      choose_batch(load.batch, load.memory, picture_bytes(models.generator->layout(), models.clip->image_size()),
                   models.generator->device());
  ordered_json result = describe(models);
  result["batch"] = batch;
  ordered_json by_precision;
  for (const Contender& contender : contenders(arguments)) {
    if (contender.method != "exact") continue;
    Ceilings ceilings;
    ceilings.device = at::Device(models.generator->device());
    ceilings.measure({contender.precision});
    const std::vector<Stage> stages =
        StageTimer(models, contender.precision, load, std::max<std::int64_t>(2, batch)).measure();
    ceilings.measure({contender.precision});
    const double gflops = ceilings.gflops(contender.precision);

    double sweep_seconds = 0;
    for (const Stage& stage : stages) sweep_seconds += stage.seconds / stage.pictures * stage.in_sweep;
    ordered_json list = ordered_json::array();
    for (const Stage& stage : stages) list.push_back(to_json(stage, gflops, ceilings.gbs(), sweep_seconds));
    const auto wide = [](const Stage& stage) { return stage.kind == "sameSize" && stage.inputs >= 64; };
    const auto up = [](const Stage& stage) { return stage.kind == "transposed"; };
    const auto convolution = [](const Stage& stage) { return stage.kind == "sameSize" || stage.kind == "transposed"; };
    const auto suffix = [&](const Stage& stage) { return convolution(stage) || stage.kind == "canvas"; };
    by_precision[name(contender.precision)] = {{"ceilings", ceilings.json()},
                                               {"shareOfMatmul",
                                                {{"sameSize", share(stages, gflops, wide, wide)},
                                                 {"transposed", share(stages, gflops, up, up)},
                                                 {"suffix", share(stages, gflops, convolution, suffix)}}},
                                               {"secondsOfSweep", sweep_seconds},
                                               {"stages", list}};
  }
  result["byPrecision"] = by_precision;
  return result;
}

}  // namespace styleclip::bench
