// Statistics of the styles and the relevance sweep.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "convert.h"
#include "environment.h"
#include "exports.h"
#include "groups.h"
#include "model.h"
#include "pictures.h"
#include "styleclip/relevance.h"
#include "sweep_arguments.h"

namespace styleclip::binding {
namespace {

constexpr std::int64_t kMostBytes = std::int64_t{1} << 50;

SampleSettings read_samples(const Options& options) {
  return {options.seed("seed"), options.number("truncationPsi"), options.integer("truncationCutoff", -1, kMostInteger)};
}

/// The CLIP model of a sweep, which has to be where the generator is.
std::shared_ptr<LoadedModel> open_clip(const Napi::Value& value, const LoadedModel& generator) {
  auto clip = ModelObject::open(value, "clip");
  if (&generator.thread != &clip->thread) {
    refuse(ErrorCode::Argument, "the generator is on " + generator.device + " and the CLIP model on " + clip->device,
           "Load both on one device.");
  }
  return clip;
}

/// The name of options.method; "reference" where it is left out.
std::string read_method(const Options& options) {
  return options.value("method").IsUndefined() ? "reference" : options.text("method");
}

// Flat S indices; left out: every channel of the layers.
std::vector<std::int64_t> read_channels(const Options& options) {
  if (options.value("channels").IsUndefined()) return {};
  const HostArray given = read_array(options.value("channels"), {options.path("channels"), {at::kInt}});
  const std::int32_t* const narrow = given.as<std::int32_t>();
  return {narrow, narrow + given.length};
}

SweepOptions read_sweep(const Options& options) {
  SweepOptions sweep;
  sweep.images = options.integer("images", 1, kMostInteger);
  sweep.sigmas = options.number("sigmas");
  sweep.perturbation = options.choice<Perturbation>(
      "perturb", {{"absolute", Perturbation::Absolute}, {"relative", Perturbation::Relative}});
  sweep.layers = options.texts("layers");
  sweep.channels = read_channels(options);
  sweep.samples = read_samples(options);
  sweep.preprocess = read_preprocess(options);
  sweep.noise = read_noise(options);
  if (!options.value("precision").IsUndefined()) {
    sweep.precision = options.choice<Precision>("precision", {{"float32", Precision::Float32},
                                                              {"tf32", Precision::TF32},
                                                              {"float16", Precision::Float16},
                                                              {"bfloat16", Precision::BFloat16}});
  }
  if (!options.value("stopAt").IsUndefined()) sweep.stop_at = options.integer("stopAt", 1, kMostInteger);
  if (!options.value("cosine").IsUndefined()) sweep.cosine = options.number("cosine");
  if (!options.value("confidence").IsUndefined()) sweep.confidence = options.number("confidence");
  sweep.batch = options.integer("batch", 0, kMostInteger);
  sweep.memory_bytes = options.integer("memoryBytes", 0, kMostBytes);
  return sweep;
}

Napi::Value statistics(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "generator");
  const Options options(info[1], "options");
  const SampleSettings settings = read_samples(options);
  const std::int64_t samples = options.integer("samples", 1, kMostInteger);
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[2], "gather statistics",
          [=, model = std::move(model)](const RunContext& run) {
            StyleStatistics result = style_statistics(model->get<Generator>(), samples, settings, run);
            result.mean = to_host(result.mean);
            result.sigma = to_host(result.sigma);
            return result;
          },
          [](Napi::Env env, StyleStatistics&& result) -> Napi::Value { return write_statistics(env, result); });
}

}  // namespace

StatisticsIn::StatisticsIn(const Options& options)
    : mean(read_array(options.value("mean"), {options.path("mean"), {at::kFloat}})),
      sigma(read_array(options.value("sigma"), {options.path("sigma"), {at::kFloat}})),
      samples(options.integer("samples", 0, kMostInteger)) {}

Napi::Object write_statistics(Napi::Env env, const StyleStatistics& statistics) {
  Napi::Object object = Napi::Object::New(env);
  object["mean"] = write_array(env, statistics.mean);
  object["sigma"] = write_array(env, statistics.sigma);
  object["samples"] = static_cast<double>(statistics.samples);
  return object;
}

SweepIn::SweepIn(const Napi::CallbackInfo& info)
    : generator(ModelObject::open(info[0], "generator")),
      clip(open_clip(info[1], *generator)),
      statistics(Options(info[2], "statistics")),
      method(read_method(Options(info[3], "options"))),
      options(read_sweep(Options(info[3], "options"))) {}

void to_host(RelevanceRows& rows) {
  rows.rows = to_host(rows.rows);
  rows.concentration = to_host(rows.concentration);
  rows.magnitude = to_host(rows.magnitude);
  rows.counts = to_host(rows.counts.to(at::kInt));
}

Napi::Object write_relevance(Napi::Env env, const RelevanceRows& rows) {
  Napi::Object object = Napi::Object::New(env);
  object["channels"] = write_indices(env, rows.channels.data(), rows.channels.size());
  object["rows"] = write_tensor(env, rows.rows);
  object["concentration"] = write_array(env, rows.concentration);
  object["magnitude"] = write_array(env, rows.magnitude);
  object["counts"] = write_array(env, rows.counts);
  object["images"] = static_cast<double>(rows.images);
  object["implementation"] = rows.implementation;
  object["seconds"] = rows.seconds;
  object["leastBytes"] = static_cast<double>(rows.least_bytes);
  return object;
}

namespace {

Napi::Value run_sweep(const Napi::CallbackInfo& info) {
  SweepIn in(info);
  DeviceThread& thread = in.generator->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[4], "sweep the style channels",
          [in = std::move(in)](const RunContext& run) {
            RelevanceRows rows = sweep(in.method, in.generator->get<Generator>(), in.clip->get<Clip>(),
                                       in.statistics.view(), in.options, run);
            to_host(rows);
            return rows;
          },
          [](Napi::Env env, RelevanceRows&& rows) -> Napi::Value { return write_relevance(env, rows); });
}

// Wanted: `beta` where it is there, "automatic" for the automatic one, else `channels`.
ScreenOptions read_screen(const Options& options) {
  ScreenOptions screen;
  const HostArray text = read_array(options.value("text"), {options.path("text"), {at::kFloat}});
  screen.text = text.view().clone();
  screen.channels = options.integer("channels", 1, kMostInteger);
  screen.automatic = options.boolean("automatic");
  if (!options.value("beta").IsUndefined()) screen.beta = options.number("beta");
  screen.margin = options.number("margin");
  screen.probes = options.integer("probes", 0, kMostInteger);
  screen.confidence = options.number("confidence");
  return screen;
}

Napi::Value run_screen(const Napi::CallbackInfo& info) {
  SweepIn in(info);
  ScreenOptions screen = read_screen(Options(info[4], "screen"));
  DeviceThread& thread = in.generator->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[5], "screen the style channels",
          [in = std::move(in), screen = std::move(screen)](const RunContext& run) {
            ScreenedRows found = sweep_screened(in.generator->get<Generator>(), in.clip->get<Clip>(),
                                                in.statistics.view(), in.options, screen, run);
            to_host(found.rows);
            return found;
          },
          [](Napi::Env env, ScreenedRows&& found) -> Napi::Value {
            Napi::Object object = write_relevance(env, found.rows);
            object["of"] = static_cast<double>(found.of);
            object["candidates"] = static_cast<double>(found.candidates);
            object["probes"] = static_cast<double>(found.probes);
            return object;
          });
}

}  // namespace

void export_relevance(Napi::Env /*env*/, Napi::Object exports) {
  add_asynchronous<statistics>(exports, "statistics");
  add_asynchronous<run_sweep>(exports, "sweep");
  add_asynchronous<run_screen>(exports, "screen");
}

}  // namespace styleclip::binding
