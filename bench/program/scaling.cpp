// How the rate changes with one thing at a time: channels, images, batch, threads or resolution. Every step takes its turn.
#include <ATen/Parallel.h>

#include <algorithm>

#include "contenders.h"
#include "questions.h"
#include "styleclip/error.h"
#include "styleclip/runtime.h"
#include "timing.h"

namespace styleclip::bench {

using nlohmann::ordered_json;

namespace {

std::vector<std::int64_t> steps_of(const std::string& by, const Arguments& arguments) {
  if (!arguments.numbers("steps").empty()) return arguments.numbers("steps");
  if (by == "channels") return {32, 64, 128, 256, 640};
  if (by == "images") return {1, 2, 4, 8};
  if (by == "batch") return {1, 2, 4, 8, 16, 32, 64, 128};
  if (by == "threads") return {1, 2};
  if (by == "resolution") return {16, 32, 64, 128, 256};
  throw Error(ErrorCode::Argument, "The rate cannot be taken by '" + by + "'.",
              "Use --by channels, images, batch, threads or resolution.");
}

}  // namespace

ordered_json answer_scaling(const Arguments& arguments) {
  const std::string& by = arguments.text("by");
  const std::vector<std::int64_t> steps = steps_of(by, arguments);
  const Models models = load_models(arguments);
  const int threads_before = threads();
  std::vector<Sweeps> sweeps;
  std::vector<Load> loads;
  for (const std::int64_t step : steps) {
    Load load = load_of(arguments);
    if (by == "channels") load.channels = step;
    if (by == "images") load.images = step;
    if (by == "batch") load.batch = step;
    loads.push_back(load);
    Models own = models;
    if (by == "resolution") {
      LoadOptions options;
      options.device = models.generator->device();
      own.generator = random_generator(step, arguments.number("channel-max"), options);
      own.statistics = style_statistics(*own.generator, arguments.number("samples"), {}, {});
    }
    sweeps.emplace_back(std::move(own));
  }
  ordered_json result = describe(models);
  result["by"] = by;
  ordered_json curves = ordered_json::array();
  for (const Contender& contender : contenders(arguments)) {
    std::vector<std::vector<double>> rates(steps.size());
    std::vector<Run> last(steps.size());
    ordered_json curve = {{"name", contender.name}};
    try {
      for (std::int64_t turn = 0; turn < std::max<std::int64_t>(1, arguments.number("turns")); ++turn) {
        for (std::size_t i = 0; i < steps.size(); ++i) {
          if (by == "threads") set_threads(static_cast<int>(steps[i]));
          last[i] = sweeps[i].run(contender, loads[i]);
          rates[i].push_back(static_cast<double>(last[i].images) / last[i].seconds);
        }
      }
    } catch (const Error& error) {
      curve["reason"] = error.what();
    }
    set_threads(threads_before);
    ordered_json points = ordered_json::array();
    for (std::size_t i = 0; i < steps.size() && !curve.contains("reason"); ++i) {
      points.push_back({{by, steps[i]},
                        {"imagesPerSecond", median(rates[i])},
                        {"channelsPerSecond", median(rates[i]) * static_cast<double>(last[i].channels) /
                                                  static_cast<double>(last[i].images)},
                        {"batch", last[i].batch},
                        {"all", rates[i]}});
    }
    curve["points"] = points;
    curves.push_back(curve);
  }
  result["curves"] = curves;
  return result;
}

}  // namespace styleclip::bench
