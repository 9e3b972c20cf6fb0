// Statistics of the styles and the relevance sweep.
#include <limits>
#include <string>
#include <utility>

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

constexpr std::int64_t kMostInteger = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMostBytes = std::int64_t{1} << 50;

SampleSettings read_samples(const Options& options) {
  return {options.seed("seed"), options.number("truncationPsi"), options.integer("truncationCutoff", -1, kMostInteger)};
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

SweepOptions read_sweep(const Options& options) {
  SweepOptions sweep;
  sweep.images = options.integer("images", 1, kMostInteger);
  sweep.sigmas = options.number("sigmas");
  sweep.perturbation = options.choice<Perturbation>(
      "perturb", {{"absolute", Perturbation::Absolute}, {"relative", Perturbation::Relative}});
  sweep.layers = options.texts("layers");
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

std::string read_method(const Options& options) {
  return options.value("method").IsUndefined() ? "reference" : options.text("method");
}

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
  return object;
}

namespace {

Napi::Value run_sweep(const Napi::CallbackInfo& info) {
  auto generator = ModelObject::open(info[0], "generator");
  auto clip = ModelObject::open(info[1], "clip");
  if (&generator->thread != &clip->thread) {
    refuse(ErrorCode::Argument, "the generator is on " + generator->device + " and the CLIP model on " + clip->device,
           "Load both on one device.");
  }
  StatisticsIn statistics(Options(info[2], "statistics"));
  const Options options(info[3], "options");
  const std::string method = read_method(options);
  SweepOptions wanted = read_sweep(options);
  DeviceThread& thread = generator->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[4], "sweep the style channels",
          [generator = std::move(generator), clip = std::move(clip), statistics = std::move(statistics), method,
           wanted = std::move(wanted)](const RunContext& run) {
            RelevanceRows rows =
                sweep(method, generator->get<Generator>(), clip->get<Clip>(), statistics.view(), wanted, run);
            to_host(rows);
            return rows;
          },
          [](Napi::Env env, RelevanceRows&& rows) -> Napi::Value { return write_relevance(env, rows); });
}

}  // namespace

void export_relevance(Napi::Env /*env*/, Napi::Object exports) {
  add_asynchronous<statistics>(exports, "statistics");
  add_asynchronous<run_sweep>(exports, "sweep");
}

}  // namespace styleclip::binding
