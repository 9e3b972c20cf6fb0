// Where an exact sweep's time goes. Its parts are called directly, on a folded picture's own activations: on a CPU every
// thread runs pictures of its own through a layer, as many together as the painter would, from reused memory, as the sweep
// does; on another device the whole batch goes at once. A part's share of the sweep is its seconds a picture times the
// pictures that go through it. Each stands beside its arithmetic floor: the larger of its operations at the rate of a
// large matrix product, and of the bytes that it must read and write at the rate of a large copy, both measured in the
// same turn. On a CPU there are several turns, since other work on the machine comes and goes: each figure is the median of
// theirs.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>

#include "contenders.h"
#include "floors.h"
#include "questions.h"
#include "relevance/exact/canvas.h"
#include "relevance/exact/layers.h"
#include "relevance/exact/network.h"
#include "relevance/exact/painter.h"
#include "relevance/precision.h"
#include "runtime/reused_memory.h"
#include "styleclip/error.h"
#include "timing.h"

namespace styleclip::bench {
namespace {

using nlohmann::ordered_json;

constexpr std::int64_t kPool = std::int64_t{1} << 30;
constexpr int kTurns = 5;
constexpr std::int64_t kWideChannels = 64;  // a convolution of at least so many is held to a share of its own
constexpr double kLeastSeconds = 0.01;      // of a timed call: work is repeated until it takes that long

struct Stage {
  std::string name;
  // "base", "perturbed", "sameSize" and "transposed" (a layer with all that follows it), "convolution" (a part of
  // sameSize), "toCanvas" (sameSize the other way, by convolve_to_canvas), "clip", "sums"
  std::string kind;
  double seconds = 0;       // of one picture, all threads at work
  double in_sweep = 0;      // pictures (base: sample pictures) that go through in the sweep
  double flops = 0;         // of one picture
  double bytes = 0;         // of one picture, each number once
  std::int64_t inputs = 0;  // channels, of layers
  bool part() const { return kind == "convolution" || kind == "toCanvas"; }  // not in the sweep beside the others
};

class StageTimer {
 public:
  StageTimer(const Models& models, Precision precision, const Load& load, std::int64_t batch)
      : models_(models),
        device_(models.generator->device()),
        type_(activation_type(precision)),
        load_(load),
        batch_(std::max<std::int64_t>(2, batch / 2 * 2)),
        precision_(precision),
        pool_(kPool) {
    std::optional<exact::Network> network = exact::read_network(*models.generator);
    if (!network) throw Error(ErrorCode::Argument, "The exact sweep cannot take this generator apart.", "Use another.");
    network_ = std::move(*network);
    number_ = static_cast<double>(c10::elementSize(type_));
    workers_ = device_.is_cpu() ? at::get_num_threads() : 1;
  }

  std::vector<Stage> measure() {
    const c10::InferenceMode guard;
    const PrecisionGuard precision(precision_);
    const exact::Canvas canvas(network_, models_.clip->image_size());
    std::vector<at::Tensor> styles = models_.generator->layout().unflatten(sample_styles().narrow(0, 0, 1));
    for (at::Tensor& style : styles) style = style[0];
    std::vector<at::Tensor> noise;
    for (const exact::Conv& conv : network_.convs) noise.push_back(conv.noise);
    const exact::PainterSettings settings{type_, device_.is_cpu() ? exact::kCpuTogether : 0};
    const double base = typical_seconds(device_, [&] { exact::Painter(network_, canvas, styles, noise, settings); });
    stages_.push_back({"base pass", "base", base, static_cast<double>(load_.images), base_flops(), 0, 0});

    at::Tensor x = network_.input.unsqueeze(0).to(type_).contiguous(at::MemoryFormat::ChannelsLast);
    for (std::size_t i = 0; i < network_.convs.size(); ++i) x = measure_layer(canvas, styles, noise[i], i, x);
    measure_rest(canvas);
    return stages_;
  }

 private:
  // Seconds of a picture when every worker does work(worker), `pictures` at a time.
  template <typename Work>
  double seconds(std::int64_t pictures, const Work& work) const {
    std::int64_t rounds = 1;
    const auto all = [&] {
      if (!device_.is_cpu()) {
        for (std::int64_t round = 0; round < rounds; ++round) work(0);
        return;
      }
      at::parallel_for(0, workers_, 1, [&](std::int64_t begin, std::int64_t end) {
        const c10::InferenceMode guard;
        const UseMemoryPool reuse(pool_);
        for (std::int64_t worker = begin; worker < end; ++worker) {
          for (std::int64_t round = 0; round < rounds; ++round) work(static_cast<std::size_t>(worker));
        }
      });
    };
    seconds_of(device_, all);
    rounds = std::max<std::int64_t>(1, std::llround(std::ceil(kLeastSeconds / seconds_of(device_, all))));
    return typical_seconds(device_, all) / static_cast<double>(rounds * workers_ * pictures);
  }

  // Pictures whose output of a layer is kept together.
  std::int64_t together(const exact::Conv& conv) const {
    if (!device_.is_cpu()) return batch_;
    const std::int64_t bytes =
        conv.outputs * conv.resolution * conv.resolution * static_cast<std::int64_t>(c10::elementSize(type_));
    return std::min(batch_, std::max<std::int64_t>(2, exact::kCpuTogether / bytes / 2 * 2));
  }

  std::vector<at::Tensor> canvases(const exact::Canvas& canvas, std::int64_t n) const {
    std::vector<at::Tensor> all;
    for (std::int64_t i = 0; i < workers_; ++i) {
      all.push_back(at::zeros({n, 3, canvas.size(), canvas.size()}, network_.input.options()));
    }
    return all;
  }

  at::Tensor measure_layer(const exact::Canvas& canvas, const std::vector<at::Tensor>& styles, const at::Tensor& noise,
                           std::size_t i, const at::Tensor& x) {
    const exact::Conv& conv = network_.convs[i];
    const std::string& name = models_.generator->layout().layers[static_cast<std::size_t>(conv.layer)].name;
    const at::Tensor& style = styles[static_cast<std::size_t>(conv.layer)];
    const exact::FoldedConv folded = exact::fold(conv, style, noise, network_.limit(), type_);
    exact::FoldedRgb rgb;
    if (i % 2 == 0) {
      const exact::ToRgb& to_rgb = network_.to_rgbs[i / 2];
      rgb = exact::fold(to_rgb, styles[static_cast<std::size_t>(to_rgb.layer)], network_.limit());
    }
    const std::int64_t side = conv.resolution, from = conv.up ? side / 2 : side, n = together(conv);
    const double outputs = static_cast<double>(conv.outputs * side * side);
    const double rgb_flops = i % 2 == 0 ? 2 * 3 * outputs : 0;
    std::vector<at::Tensor> targets = canvases(canvas, n);
    const auto painting = [&](std::size_t worker, std::int64_t pictures) {
      return exact::Painting{i % 2 == 0 ? &rgb : nullptr, &canvas, i / 2, targets[worker].narrow(0, 0, pictures)};
    };

    const exact::LayerBase base = exact::layer_base(conv, x[0], style, exact::up_layer_of(x.device()));
    const std::int64_t k = std::min(n / 2, conv.inputs);
    const at::Tensor channels = at::arange(k, at::TensorOptions(device_).dtype(at::kLong));
    const at::Tensor plus = style.index_select(0, channels) + 1, minus = plus - 2;
    const double own = 2 * static_cast<double>(conv.inputs * load_.images);
    const double perturbed = seconds(2 * k, [&](std::size_t worker) {
      exact::Painting to = painting(worker, 2 * k);
      exact::perturbed_layer(folded, base, channels, plus, minus, to);
    });
    // Both signs share the nine taps; each is scaled, shifted and activated.
    stages_.push_back(
        {name, "perturbed", perturbed, own, outputs * (9 + 6) + rgb_flops, outputs * number_, conv.inputs});

    if (i > 0) {
      std::vector<at::Tensor> many;
      for (std::int64_t worker = 0; worker < workers_; ++worker) {
        many.push_back(x.expand({n, -1, -1, -1}).contiguous(at::MemoryFormat::ChannelsLast));
      }
      const bool keep = i + 1 < network_.convs.size();
      const double in = product(conv.inputs, from, from), flops = conv_flops(conv.inputs, conv.outputs, from);
      const double layer = seconds(n, [&](std::size_t worker) {
        exact::Painting to = painting(worker, n);
        exact::run_layer(folded, many[worker], to, keep);
      });
      stages_.push_back({name, conv.up ? "transposed" : "sameSize", layer, changed_, flops,
                         number_ * (in + (keep ? outputs : 0)), conv.inputs});
      if (!conv.up) {
        const double alone = seconds(n, [&](std::size_t worker) { at::conv2d(many[worker], folded.weight, {}, 1, 1); });
        stages_.push_back({name, "convolution", alone, changed_, flops, number_ * (in + outputs), conv.inputs});
        // On a CPU the operator is a composition that nobody would take.
        if (i % 2 == 0 && !device_.is_cpu() && exact::fits_to_canvas(conv, type_)) {
          exact::FoldedConv other = folded;
          other.same_layer = exact::SameLayer::ToCanvas;
          require_alike(name, folded, other, many[0], painting(0, n), keep);
          const double one_pass = seconds(n, [&](std::size_t worker) {
            exact::Painting to = painting(worker, n);
            exact::run_layer(other, many[worker], to, keep);
          });
          stages_.push_back(
              {name, "toCanvas", one_pass, changed_, flops, number_ * (in + (keep ? outputs : 0)), conv.inputs});
        }
      }
    }
    changed_ += own;
    exact::Painting to = painting(0, 1);
    return exact::run_layer(folded, x, to);
  }

  // Both ways of a layer before they are timed. Each number of a canvas is a sum of many that are rounded to the type,
  // here one time more than there; together they may be off by as much as one of them.
  void require_alike(const std::string& name, const exact::FoldedConv& one, const exact::FoldedConv& other,
                     const at::Tensor& x, exact::Painting painting, bool keep) const {
    const auto painted = [&](const exact::FoldedConv& folded) {
      painting.target = at::zeros_like(painting.target);
      exact::run_layer(folded, x, painting, keep);
      return painting.target;
    };
    const at::Tensor wanted = painted(one);
    const double off = (painted(other) - wanted).norm().item<double>(), size = wanted.norm().item<double>();
    const double roundoff = type_ == at::kHalf ? 0x1p-11 : 0x1p-8;
    if (off <= roundoff * size) return;
    throw Error(ErrorCode::Internal, "The two ways of " + name + " paint different pictures.",
                "Report it, with the device and the precision.");
  }

  void measure_rest(const exact::Canvas& canvas) {
    const std::string type = precision_ == Precision::TF32 ? "float32" : precision_name(precision_);
    const std::shared_ptr<Clip> clip = models_.clip->dtype() == type ? models_.clip : models_.clip->converted(type);
    std::vector<at::Tensor> pictures = canvases(canvas, batch_);
    for (at::Tensor& picture : pictures) picture = at::randn(picture.sizes(), picture.options()).clamp(-1, 1);
    std::vector<at::Tensor> embeddings(pictures.size());
    const double embedding = seconds(batch_, [&](std::size_t worker) {
      embeddings[worker] = clip->encode_image(clip->preprocess(pictures[worker], Preprocess::Float));
    });
    stages_.push_back(
        {"CLIP", "clip", embedding, changed_, clip_flops(*clip), 4 * 3 * product(1, canvas.size(), canvas.size()), 0});
    const std::int64_t k = batch_ / 2, dim = clip->embedding_dim();
    RelevanceSums sums(k * workers_, dim, device_);
    const double adding = seconds(batch_, [&](std::size_t worker) {
      const at::Tensor& f = embeddings[worker];
      const std::int64_t first = k * static_cast<std::int64_t>(worker);
      sums.add(first, f.narrow(0, 0, k).unsqueeze(1), f.narrow(0, k, k).unsqueeze(1));
      sums.first_not_finite(first, k);
    });
    stages_.push_back({"sums", "sums", adding, changed_, 0, 4.0 * static_cast<double>(dim), 0});
  }

  at::Tensor sample_styles() const {
    SweepOptions options;
    options.images = 1;
    options.layers = load_.layers;
    return make_sweep_inputs(*models_.generator, models_.statistics, options, {}).base;
  }

  // Each layer twice: once folded, for what follows, once linear, for what perturbs it.
  double base_flops() const {
    double sum = 0;
    for (const exact::Conv& conv : network_.convs) {
      sum += 2 * conv_flops(conv.inputs, conv.outputs, conv.up ? conv.resolution / 2 : conv.resolution);
    }
    return sum;
  }

  const Models& models_;
  at::Device device_;
  at::ScalarType type_;
  Load load_;
  std::int64_t batch_;
  Precision precision_;
  MemoryPool pool_;
  std::int64_t workers_ = 1;
  double number_ = 4, changed_ = 0;  // bytes; pictures that reach the layer at hand already changed
  exact::Network network_;
  std::vector<Stage> stages_;
};

// All stages, and what this machine did at best about the same time.
struct Turn {
  std::vector<Stage> stages;
  double gflops = 0, gbs = 0;

  // Of the parts that the sweep consists of.
  double sweep_seconds() const {
    double sum = 0;
    for (const Stage& stage : stages) sum += stage.part() ? 0 : stage.seconds * stage.in_sweep;
    return sum;
  }
};

template <typename Figure>
double over_turns(const std::vector<Turn>& turns, const Figure& figure) {
  std::vector<double> all;
  for (const Turn& turn : turns) all.push_back(figure(turn));
  return median(std::move(all));
}

ordered_json to_json(const std::vector<Turn>& turns, std::size_t i) {
  const Stage& stage = turns.front().stages[i];
  const auto typical = [&](const auto& figure) {
    return over_turns(turns, [&](const Turn& turn) { return figure(turn, turn.stages[i].seconds); });
  };
  const double seconds = typical([](const Turn&, double s) { return s; });
  const double of_product = typical([&](const Turn& turn, double s) { return stage.flops / s * 1e-9 / turn.gflops; });
  const double of_copy = typical([&](const Turn& turn, double s) { return stage.bytes / s * 1e-9 / turn.gbs; });
  const double most = std::max(of_product, of_copy);
  return {
      {"name", stage.name},
      {"kind", stage.kind},
      {"inputs", stage.inputs},
      {"secondsPerPicture", seconds},
      {"shareOfSweep", typical([&](const Turn& turn, double s) { return s * stage.in_sweep / turn.sweep_seconds(); })},
      {"gflops", stage.flops / seconds * 1e-9},
      {"gigabytesPerSecond", stage.bytes / seconds * 1e-9},
      {"shareOfMatmul", of_product},
      {"shareOfCopy", of_copy},
      {"bound", of_product > of_copy ? "matmul" : "copy"},
      {"timesFloor", most > 0 ? ordered_json(1 / most) : ordered_json(nullptr)}};
}

// The rate of some stages, weighed as in the sweep, beside the matrix product's: in each turn.
template <typename Wanted>
std::vector<double> shares(const std::vector<Turn>& turns, const Wanted& wanted) {
  std::vector<double> all;
  for (const Turn& turn : turns) {
    double flops = 0, seconds = 0;
    for (const Stage& stage : turn.stages) {
      if (!wanted(stage)) continue;
      flops += stage.flops * stage.in_sweep;
      seconds += stage.seconds * stage.in_sweep;
    }
    if (seconds > 0) all.push_back(flops / seconds * 1e-9 / turn.gflops);
  }
  return all;
}

ordered_json typical_share(const std::vector<double>& of_turns) {
  return of_turns.empty() ? ordered_json(nullptr) : ordered_json(median(of_turns));
}

// The batch that the sweep would use.
std::int64_t batch_of(const Sweeps& sweeps, const Contender& contender, const Load& load) {
  const SweepInputs inputs = sweeps.inputs(contender, load);
  const SweepOptions options = sweeps.options(contender, load);
  const RunContext run;
  return make_engine("exact", {*sweeps.models().generator, *sweeps.models().clip, inputs, options, run})->batch();
}

}  // namespace

ordered_json answer_stages(const Arguments& arguments) {
  const Sweeps sweeps(load_models(arguments));
  const Models& models = sweeps.models();
  const Load load = load_of(arguments);
  ordered_json result = describe(models);
  ordered_json by_precision;
  for (const Contender& contender : contenders(arguments)) {
    if (contender.method != "exact") continue;
    Ceilings ceilings;  // of all turns
    ceilings.device = at::Device(models.generator->device());
    const std::int64_t batch = batch_of(sweeps, contender, load);
    std::vector<Turn> turns;
    for (int i = 0; i < (ceilings.device.is_cpu() ? kTurns : 1); ++i) {
      Ceilings here;
      here.device = ceilings.device;
      here.measure({contender.precision});
      turns.push_back({StageTimer(models, contender.precision, load, batch).measure()});
      here.measure({contender.precision});
      turns.back().gflops = here.gflops(contender.precision);
      turns.back().gbs = here.gbs();
      ceilings.add(here);
    }
    ordered_json list = ordered_json::array();
    for (std::size_t i = 0; i < turns.front().stages.size(); ++i) list.push_back(to_json(turns, i));
    const auto same_size =
        shares(turns, [](const Stage& stage) { return stage.kind == "convolution" && stage.inputs >= kWideChannels; });
    const auto transposed = shares(turns, [](const Stage& stage) { return stage.kind == "transposed"; });
    const auto suffix =
        shares(turns, [](const Stage& stage) { return stage.kind == "sameSize" || stage.kind == "transposed"; });
    by_precision[name(contender.precision)] = {
        {"batch", batch},
        {"ceilings", ceilings.json()},
        {"shareOfMatmul",
         {{"sameSize", typical_share(same_size)},
          {"transposed", typical_share(transposed)},
          {"suffix", typical_share(suffix)}}},
        {"shareOfMatmulByTurn", {{"sameSize", same_size}, {"transposed", transposed}, {"suffix", suffix}}},
        {"secondsOfSweep", over_turns(turns, [](const Turn& turn) { return turn.sweep_seconds(); })},
        {"stages", list}};
  }
  result["byPrecision"] = by_precision;
  return result;
}

}  // namespace styleclip::bench
