#include "contenders.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <chrono>

#include "agreement.h"
#include "relevance/precision.h"
#include "styleclip/error.h"
#include "timing.h"

namespace styleclip::bench {
namespace {

// Every n-th of the moving channels, `count` in all, so that each layer keeps its share.
void thin(SweepInputs& inputs, std::int64_t count) {
  const auto all = static_cast<std::int64_t>(inputs.moving.size());
  if (count <= 0 || count >= all) return;
  std::vector<std::int64_t> kept;
  kept.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) kept.push_back(inputs.moving[static_cast<std::size_t>(i * all / count)]);
  inputs.moving = std::move(kept);
}

}  // namespace

Contender contender_named(const std::string& name) {
  Contender contender;
  contender.name = name;
  contender.method = name.substr(0, name.find('/'));
  if (contender.method.size() == name.size()) return contender;
  const std::string rest = name.substr(contender.method.size() + 1);
  if (rest.find_first_not_of("0123456789") == std::string::npos && !rest.empty()) {
    contender.batch = std::stoll(rest);
  } else {
    contender.precision = precision_named(rest);
  }
  return contender;
}

std::vector<Contender> contenders(const Arguments& arguments) {
  std::vector<std::string> names = arguments.list("methods");
  if (names.empty()) {
    names = {"reference", "exact", "exact/bfloat16"};
    if (arguments.text("device") != "cpu") names.insert(names.end(), {"exact/tf32", "exact/float16"});
  }
  std::vector<Contender> all;
  std::transform(names.begin(), names.end(), std::back_inserter(all), contender_named);
  return all;
}

Load load_of(const Arguments& arguments) {
  return {arguments.number("images"), arguments.list("layers"), arguments.number("channels"), arguments.number("batch"),
          arguments.number("memory")};
}

Contender other_order(const Load& load) { return contender_named(load.batch == 1 ? "reference/2" : "reference/1"); }

nlohmann::ordered_json to_json(const Run& run) {
  return {{"seconds", run.seconds},
          {"images", run.images},
          {"channels", run.channels},
          {"imagesPerSecond", static_cast<double>(run.images) / run.seconds},
          {"channelsPerSecond", static_cast<double>(run.channels) / run.seconds},
          {"implementation", run.implementation},
          {"batch", run.batch},
          {"leastBytes", run.least_bytes}};
}

SweepOptions Sweeps::options(const Contender& contender, const Load& load) const {
  SweepOptions options;
  options.images = load.images;
  options.layers = load.layers;
  options.precision = contender.precision;
  options.batch = contender.batch > 0 ? contender.batch : load.batch;
  options.memory_bytes = load.memory;
  return options;
}

SweepInputs Sweeps::inputs(const Contender& contender, const Load& load) const {
  SweepInputs inputs =
      make_sweep_inputs(*models_.generator, models_.statistics, options(contender, load), RunContext{});
  thin(inputs, load.channels);
  return inputs;
}

Run Sweeps::run(const Contender& contender, const Load& load) const {
  const at::Device device(models_.generator->device());
  Run result;
  result.seconds = seconds_of(device, [&] {
    const RunContext context;
    const SweepOptions asked = options(contender, load);
    const SweepInputs swept = inputs(contender, load);
    const auto engine = make_engine(contender.method, {*models_.generator, *models_.clip, swept, asked, context});
    const SweepBlock whole{0, static_cast<std::int64_t>(swept.moving.size()), 0, load.images};
    RelevanceSums sums(whole.rows, models_.clip->embedding_dim(), device);
    ProgressMeter meter(context, "sweep", engine->work(whole), "images");
    result.images = engine->run(whole, sums, meter);
    finish_rows(sums, swept.channels, swept.moving, load.images);
    result.channels = whole.rows;
    result.implementation = engine->implementation();
    result.batch = engine->batch();
    result.least_bytes = engine->least_bytes();
  });
  return result;
}

at::Tensor Sweeps::differences(const Contender& contender, const Load& load) const {
  return differences(models_, contender, load);
}

// Picture by picture: then the sums hold one unit difference and its length.
at::Tensor Sweeps::differences(const Models& models, const Contender& contender, const Load& load) const {
  const RunContext context;
  const SweepOptions asked = options(contender, load);
  const SweepInputs swept = inputs(contender, load);
  const auto engine = make_engine(contender.method, {*models.generator, *models.clip, swept, asked, context});
  const auto rows = static_cast<std::int64_t>(swept.moving.size());
  const std::int64_t dim = models.clip->embedding_dim();
  at::Tensor all = at::empty({rows, load.images, dim}, at::kDouble);
  ProgressMeter meter(context, "sweep", 2 * rows * load.images, "images");
  for (std::int64_t picture = 0; picture < load.images; ++picture) {
    RelevanceSums sums(rows, dim, at::Device(models.generator->device()));
    engine->run({0, rows, picture, 1}, sums, meter);
    all.select(1, picture).copy_((sums.sum * sums.magnitude.unsqueeze(1)).to(at::kCPU));
  }
  return all;
}

std::string fault_of(const Contender& contender, nlohmann::ordered_json& agreement, const Sweeps& sweeps,
                     const Arguments& arguments, const Load& load, const at::Tensor& truth) {
  const Precision precision = contender.precision;
  const std::string fault = disagreement(agreement, precision);
  if (fault.empty() || (precision != Precision::Float16 && precision != Precision::BFloat16)) return fault;
  const Models half = load_models(arguments, precision_name(precision));
  const double plain = distance(sweeps.differences(half, contender_named("reference"), load), truth);
  agreement["distanceOfPlain"] = plain;
  return disagreement(agreement, precision, plain);
}

}  // namespace styleclip::bench
