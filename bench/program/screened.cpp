// A text's channels by screening, without Node: random unit directions stand for texts. Beside it, in the same
// process, an exact sweep of all channels, over fewer pictures: its time is linear in them.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "contenders.h"
#include "questions.h"
#include "styleclip/error.h"
#include "timing.h"

namespace styleclip::bench {
namespace {

using nlohmann::ordered_json;

constexpr std::uint64_t kSeed = 11;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

ScreenOptions screen_of(const Arguments& arguments) {
  ScreenOptions screen;
  screen.channels = arguments.number("keep");
  if (!arguments.text("beta").empty()) screen.beta = arguments.decimal("beta");
  screen.margin = arguments.decimal("margin");
  screen.probes = arguments.number("probes");
  screen.confidence = arguments.decimal("confidence");
  return screen;
}

std::vector<Contender> precisions_of(const Arguments& arguments) {
  std::vector<std::string> names = arguments.list("methods");
  if (names.empty()) {
    names = {"exact"};
    if (arguments.text("device") != "cpu") names.emplace_back("exact/float16");
  }
  std::vector<Contender> all;
  for (const std::string& name : names) {
    all.push_back(contender_named(name));
    if (all.back().method == "exact") continue;
    throw Error(ErrorCode::Argument, "A screening paints as exact does, not as '" + name + "'.",
                "Use --methods exact, exact/float16, ….");
  }
  return all;
}

// Of the channels whose |row · direction| is largest in all of `exact`, the share that `found` has.
double recall(const RelevanceRows& exact, const at::Tensor& direction, std::int64_t keep, const RelevanceRows& found) {
  const at::Tensor r = at::matmul(exact.rows.to(at::kCPU, at::kDouble), direction.to(at::kDouble)).abs();
  const std::set<std::int64_t> have(found.channels.begin(), found.channels.end());
  const at::Tensor wanted = std::get<1>(r.topk(std::min(keep, r.numel())));
  double hits = 0;
  for (std::int64_t i = 0; i < wanted.numel(); ++i) {
    hits += static_cast<double>(have.count(exact.channels[static_cast<std::size_t>(wanted[i].item<std::int64_t>())]));
  }
  return hits / static_cast<double>(wanted.numel());
}

struct Screened {
  ScreenedRows found;
  double seconds = 0, slope_seconds = 0;  // in all; until the last slope is reported
};

ordered_json to_json(const Screened& one, std::int64_t pictures) {
  const std::int64_t products = pictures * (1 + one.found.probes);
  return {{"seconds", one.seconds},
          {"slopeSeconds", one.slope_seconds},
          {"paintingSeconds", one.seconds - one.slope_seconds},
          {"of", one.found.of},
          {"candidates", one.found.candidates},
          {"survivors", one.found.rows.channels.size()},
          {"probes", one.found.probes},
          {"products", products},
          {"rendered", one.found.rows.images - products},
          {"batch", one.found.rows.batch}};
}

class Screenings {
 public:
  Screenings(const Sweeps& sweeps, const Arguments& arguments)
      : sweeps_(sweeps), load_(load_of(arguments)), screen_(screen_of(arguments)) {
    exact_pictures_ = arguments.number("exact-images");
    at::Generator engine = at::make_generator<at::CPUGeneratorImpl>(kSeed);
    for (std::int64_t i = 0; i < arguments.number("directions"); ++i) {
      const at::Tensor direction = at::randn({sweeps.models().clip->embedding_dim()}, engine);
      directions_.push_back(direction / direction.norm());
    }
    if (directions_.empty()) throw Error(ErrorCode::Range, "--directions is 0.", "Ask for one or more.");
  }

  ordered_json run(const Contender& contender) const {
    ordered_json result = {{"name", contender.name}};
    const SweepOptions options = options_of(contender, load_.images);
    RelevanceRows exact;
    double exact_seconds = 0;  // of all pictures
    if (exact_pictures_ > 0) {
      exact = exact_sweep(options_of(contender, exact_pictures_));
      const double pictures = static_cast<double>(exact_pictures_);
      exact_seconds = exact.seconds / pictures * static_cast<double>(load_.images);
      result["exact"] = {{"pictures", exact_pictures_},
                         {"channels", exact.channels.size()},
                         {"rendered", exact.images},
                         {"seconds", exact.seconds},
                         {"imagesPerSecond", static_cast<double>(exact.images) / exact.seconds},
                         {"batch", exact.batch},
                         {"secondsOfAllPictures", exact_seconds},
                         {"scaled", "linearly in pictures"}};
    }
    std::vector<double> seconds, slopes, painting, survivors, ratios;
    ordered_json each = ordered_json::array();
    for (const at::Tensor& direction : directions_) {
      const Screened one = screened(options, direction);
      ordered_json entry = to_json(one, options.images);
      seconds.push_back(one.seconds);
      slopes.push_back(one.slope_seconds);
      painting.push_back(one.seconds - one.slope_seconds);
      survivors.push_back(static_cast<double>(one.found.rows.channels.size()));
      if (exact_pictures_ > 0) {
        ratios.push_back(exact_seconds / one.seconds);
        entry["timesAsFast"] = ratios.back();
      }
      if (exact_pictures_ == load_.images && !screen_.beta) {
        entry["recall"] = recall(exact, direction, screen_.channels, one.found.rows);
      }
      each.push_back(entry);
    }
    result["seconds"] = median(seconds);
    result["slopeSeconds"] = median(slopes);
    result["paintingSeconds"] = median(painting);
    result["survivors"] = median(survivors);
    if (!ratios.empty()) {
      result["timesAsFast"] = median(ratios);
      result["goal"] = static_cast<double>(exact.channels.size()) / median(survivors) / 2;
    }
    result["directions"] = each;
    return result;
  }

 private:
  SweepOptions options_of(const Contender& contender, std::int64_t images) const {
    Load load = load_;
    load.images = images;
    SweepOptions options = sweeps_.options(contender, load);
    if (load.channels > 0) {
      const SweepInputs thinned = sweeps_.inputs(contender, load);
      for (const std::int64_t row : thinned.moving) {
        options.channels.push_back(thinned.channels[static_cast<std::size_t>(row)]);
      }
    }
    return options;
  }

  RelevanceRows exact_sweep(const SweepOptions& options) const {
    const Models& models = sweeps_.models();
    return sweep_exact(*models.generator, *models.clip, models.statistics, options, RunContext{});
  }

  Screened screened(const SweepOptions& options, const at::Tensor& direction) const {
    const Models& models = sweeps_.models();
    ScreenOptions screen = screen_;
    screen.text = direction;
    Screened result;
    const auto start = std::chrono::steady_clock::now();
    RunContext run;
    run.progress = [&](const Progress& progress) {
      if (progress.phase == "screen") result.slope_seconds = seconds_since(start);
    };
    result.found = sweep_screened(*models.generator, *models.clip, models.statistics, options, screen, run);
    synchronize(at::Device(models.generator->device()));
    result.seconds = seconds_since(start);
    return result;
  }

  const Sweeps& sweeps_;
  Load load_;
  ScreenOptions screen_;
  std::int64_t exact_pictures_ = 0;
  std::vector<at::Tensor> directions_;
};

}  // namespace

ordered_json answer_screened(const Arguments& arguments) {
  const std::vector<Contender> all = precisions_of(arguments);
  const Sweeps sweeps(load_models(arguments));
  const Screenings screenings(sweeps, arguments);
  ordered_json beta;  // null where the number of channels is given
  if (!arguments.text("beta").empty()) beta = arguments.decimal("beta");
  ordered_json result = describe(sweeps.models());
  result["sweep"] = {{"pictures", arguments.number("images")}, {"layers", arguments.list("layers")}};
  result["screen"] = {{"text", "random unit directions"},
                      {"keep", arguments.number("keep")},
                      {"beta", beta},
                      {"margin", arguments.decimal("margin")},
                      {"probes", arguments.number("probes")},
                      {"confidence", arguments.decimal("confidence")}};
  bool passed = true;
  ordered_json methods = ordered_json::array();
  for (const Contender& contender : all) {
    try {
      methods.push_back(screenings.run(contender));
    } catch (const Error& error) {
      methods.push_back({{"name", contender.name}, {"reason", error.what()}});
      passed = false;
    }
  }
  result["passed"] = passed;
  result["methods"] = methods;
  return result;
}

}  // namespace styleclip::bench
