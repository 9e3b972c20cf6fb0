// Inversion and pivotal tuning. Opened, advanced some steps at a time, and read; as latent optimisation.
#include <ATen/ops/cat.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "convert.h"
#include "environment.h"
#include "errors.h"
#include "exports.h"
#include "groups.h"
#include "model.h"
#include "opened_run.h"
#include "styleclip/inversion.h"

namespace styleclip::binding {

template <>
constexpr RunKind kRunKind<Inverter> = {{0x5c2a91f0d37be841ULL, 0x90b1e6a2744cf3d8ULL}, "inversion", "openInverter"};
template <>
constexpr RunKind kRunKind<PivotalTuner> = {{0x21f7a0c9be5d4368ULL, 0xa7d02b9e61c8354fULL}, "tuning", "openTuner"};

namespace {

template <class Inside>
using Handle = RunHandle<Inside>;

/// The models of a call: the generator, and a network of a kind that options name.
Models read_models(const Napi::CallbackInfo& info, const std::string& feature) {
  Models models = {ModelObject::open(info[0], "generator")};
  if (feature != "none") models.push_back(ModelObject::open(info[1], feature.c_str()));
  return models;
}

FeatureNetwork network_of(const Models& models, const std::string& feature) {
  FeatureNetwork network;
  if (feature == "clip") network.clip = &models[1]->get<Clip>();
  if (feature == "identity") network.identity = &models[1]->get<Identity>();
  if (feature == "perceptual") network.perceptual = &models[1]->get<Perceptual>();
  return network;
}

std::string read_feature(const Options& options) {
  return options.choice<std::string>(
      "feature", {{"none", "none"}, {"clip", "clip"}, {"identity", "identity"}, {"perceptual", "perceptual"}});
}

using Arrays = std::shared_ptr<std::vector<HostArray>>;

Arrays read_maps(const Napi::Value& value) {
  auto maps = std::make_shared<std::vector<HostArray>>();
  if (value.IsUndefined()) return maps;
  if (!value.IsArray()) refuse(ErrorCode::Argument, "noise must be an array of maps", "Pass one for each convolution.");
  const auto list = value.As<Napi::Array>();
  for (std::uint32_t i = 0; i < list.Length(); ++i) {
    maps->push_back(read_tensor(list.Get(i), {"noise", {at::kFloat}, 4}));
  }
  return maps;
}

std::vector<at::Tensor> tensors_of(const Arrays& arrays) {
  std::vector<at::Tensor> tensors;
  for (const HostArray& array : *arrays) tensors.push_back(array.view().clone());
  return tensors;
}

Napi::Value open_inverter(const Napi::CallbackInfo& info) {
  const Options options(info[4], "options");
  const std::string feature = read_feature(options);
  InversionOptions wanted;
  wanted.w_plus = options.boolean("wPlus");
  wanted.steps = options.integer("steps", 1, 1'000'000);
  wanted.learning_rate = options.number("learningRate");
  wanted.rate_in_sigmas = options.boolean("rateInSigmas");
  wanted.ramp = options.boolean("ramp");
  wanted.latent_noise = options.number("latentNoise");
  wanted.noise_maps = options.boolean("noiseMaps");
  wanted.lambda_noise = options.number("lambdaNoise");
  wanted.lambda_pixel = options.number("lambdaPixel");
  wanted.lambda_pooled = options.number("lambdaPooled");
  wanted.lambda_feature = options.number("lambdaFeature");
  wanted.lambda_start = options.number("lambdaStart");
  wanted.seed = options.seed("seed");
  wanted.batch = options.integer("batch", 0, kMostInteger);
  auto images = std::make_shared<HostArray>(read_images(info[2]));
  std::shared_ptr<HostArray> start;
  if (!info[3].IsUndefined()) start = std::make_shared<HostArray>(read_tensor(info[3], {"start", {at::kFloat}}));
  const Handle<Inverter> opened = make_run<Inverter>(info.Env(), read_models(info, feature));
  return Environment::of(info.Env())
      .call(
          opened->thread, info[5], "start an inversion",
          [=](const RunContext& run) {
            opened->inside = std::make_shared<Inverter>(
                opened->models[0]->get<Generator>(), network_of(opened->models, feature), float_images(images->view()),
                start == nullptr ? at::Tensor() : start->view().clone(), wanted, run);
          },
          [opened](Napi::Env env) -> Napi::Value { return write_run(env, opened); });
}

struct Advanced {
  bool running = false;
  std::int64_t step = 0;
  double loss = 0;
};

template <class Inside>
Napi::Value advance(const Napi::CallbackInfo& info) {
  const Handle<Inside> opened = read_run<Inside>(info[0]);
  const std::int64_t steps = read_steps(info[1]);
  return Environment::of(info.Env())
      .call(
          opened->thread, info[2], "invert pictures",
          [opened, steps](const RunContext& run) -> Advanced {
            const bool running = opened->get().advance(steps, run);
            return {running, opened->get().step(), opened->get().loss()};
          },
          [](Napi::Env env, Advanced&& advanced) -> Napi::Value {
            Napi::Object object = Napi::Object::New(env);
            object["running"] = advanced.running;
            object["step"] = static_cast<double>(advanced.step);
            object["loss"] = advanced.loss;
            return object;
          });
}

template <class Inside>
Napi::Value state(const Napi::CallbackInfo& info) {
  const Handle<Inside> opened = read_run<Inside>(info[0], false);
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), "read the state of an inversion",
          [opened](const RunContext&) {
            std::map<std::string, at::Tensor> all = opened->get().state();
            for (auto& [name, tensor] : all) tensor = to_host(tensor);
            return all;
          },
          [](Napi::Env env, std::map<std::string, at::Tensor>&& all) -> Napi::Value {
            return write_tensors(env, all);
          });
}

template <class Inside>
Napi::Value restore(const Napi::CallbackInfo& info) {
  const Handle<Inside> opened = read_run<Inside>(info[0]);
  const HostArrays arrays = read_tensors(info[1], "state", {at::kFloat, at::kDouble, at::kLong});
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), "go on with an inversion",
          [opened, arrays](const RunContext&) { opened->get().restore(tensors_of(arrays)); },
          [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

Napi::Value result(const Napi::CallbackInfo& info) {
  const Handle<Inverter> opened = read_run<Inverter>(info[0], false);
  const bool best = read_best(info[1]);
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), "read an inversion",
          [opened, best](const RunContext&) {
            Inverter::Result all = opened->get().result(best);
            for (at::Tensor* tensor : {&all.latents, &all.curves, &all.best_step, &all.end}) *tensor = to_host(*tensor);
            for (at::Tensor& map : all.noise) map = to_host(map);
            return all;
          },
          [](Napi::Env env, Inverter::Result&& all) -> Napi::Value {
            Napi::Object object = Napi::Object::New(env);
            object["latents"] = write_tensor(env, all.latents);
            object["curves"] = write_tensor(env, all.curves);
            object["bestStep"] = write_tensor(env, all.best_step);
            object["end"] = write_tensor(env, all.end);
            Napi::Array noise = Napi::Array::New(env);
            for (std::uint32_t i = 0; i < all.noise.size(); ++i) noise[i] = write_tensor(env, all.noise[i]);
            object["noise"] = noise;
            return object;
          });
}

Napi::Value open_tuner(const Napi::CallbackInfo& info) {
  const Options options(info[5], "options");
  const std::string feature = read_feature(options);
  TuningOptions wanted;
  wanted.steps = options.integer("steps", 1, 1'000'000);
  wanted.learning_rate = options.number("learningRate");
  wanted.lambda_pixel = options.number("lambdaPixel");
  wanted.lambda_feature = options.number("lambdaFeature");
  wanted.enough = options.number("enough");
  wanted.lambda_locality = options.number("lambdaLocality");
  wanted.locality_distance = options.number("localityDistance");
  wanted.seed = options.seed("seed");
  wanted.batch = options.integer("batch", 0, kMostInteger);
  auto images = std::make_shared<HostArray>(read_images(info[2]));
  auto latents = std::make_shared<HostArray>(read_tensor(info[3], {"latents", {at::kFloat}, 3}));
  const Arrays noise = read_maps(info[4]);
  const Handle<PivotalTuner> opened = make_run<PivotalTuner>(info.Env(), read_models(info, feature));
  return Environment::of(info.Env())
      .call(
          opened->thread, info[6], "start tuning a generator",
          [=](const RunContext&) {
            opened->inside = std::make_shared<PivotalTuner>(
                opened->models[0]->get<Generator>(), network_of(opened->models, feature), float_images(images->view()),
                latents->view().clone(), tensors_of(noise), wanted);
          },
          [opened](Napi::Env env) -> Napi::Value { return write_run(env, opened); });
}

struct Tuned {
  std::map<std::string, at::Tensor> difference;
  at::Tensor curve;
};

Napi::Value tuned(const Napi::CallbackInfo& info) {
  const Handle<PivotalTuner> opened = read_run<PivotalTuner>(info[0], false);
  const bool best = read_best(info[1]);
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), "read a tuning",
          [opened, best](const RunContext&) {
            Tuned all{opened->get().difference(best), to_host(opened->get().curve())};
            for (auto& [name, tensor] : all.difference) tensor = to_host(tensor);
            return all;
          },
          [](Napi::Env env, Tuned&& all) -> Napi::Value {
            Napi::Object object = Napi::Object::New(env);
            object["difference"] = write_tensors(env, all.difference);
            object["curve"] = write_tensor(env, all.curve);
            return object;
          });
}

Napi::Value apply(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "generator");
  const HostArrays arrays = read_tensors(info[1], "difference", {at::kFloat});
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info.Env().Undefined(), "apply a difference",
          [model = std::move(model), arrays](const RunContext&) {
            apply_difference(model->get<Generator>(), tensors_of(arrays));
          },
          [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

/// S and maps -> float32 pictures.
Napi::Value synthesize_noise(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "generator");
  auto s = std::make_shared<HostArray>(read_tensor(info[1], {"s", {at::kFloat}, 2}));
  const Arrays noise = read_maps(info[2]);
  for (const HostArray& map : *noise) {
    if (map.shape[0] == 1 || map.shape[0] == s->shape[0]) continue;
    refuse(ErrorCode::Shape,
           std::to_string(map.shape[0]) + " noise maps were given for " + std::to_string(s->shape[0]) + " pictures",
           "Pass one for all or one for each.");
  }
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[3], "synthesise pictures",
          [model = std::move(model), s, noise](const RunContext& run) {
            auto& generator = model->get<Generator>();
            const std::vector<at::Tensor> maps = tensors_of(noise);
            const at::Tensor styles = s->view();
            std::vector<at::Tensor> parts;
            parts.reserve(static_cast<std::size_t>(styles.size(0)));
            for (std::int64_t i = 0; i < styles.size(0); ++i) {
              run.check();
              std::vector<at::Tensor> own;
              own.reserve(maps.size());
              for (const at::Tensor& map : maps) own.push_back(map.size(0) == 1 ? map : map.narrow(0, i, 1));
              parts.push_back(to_host(generator.synthesis(styles.narrow(0, i, 1), own)));
            }
            return at::cat(parts);
          },
          [](Napi::Env env, at::Tensor&& host) -> Napi::Value { return write_tensor(env, host); });
}

}  // namespace

void export_inverting(Napi::Env /*env*/, Napi::Object exports) {
  add_asynchronous<open_inverter>(exports, "openInverter");
  add_asynchronous<advance<Inverter>>(exports, "advanceInverter");
  add_asynchronous<result>(exports, "inverterResult");
  add_asynchronous<state<Inverter>>(exports, "inverterState");
  add_asynchronous<restore<Inverter>>(exports, "restoreInverter");
  add_asynchronous<close_run<Inverter>>(exports, "closeInverter");
  add_asynchronous<open_tuner>(exports, "openTuner");
  add_asynchronous<advance<PivotalTuner>>(exports, "advanceTuner");
  add_asynchronous<tuned>(exports, "tunerResult");
  add_asynchronous<state<PivotalTuner>>(exports, "tunerState");
  add_asynchronous<restore<PivotalTuner>>(exports, "restoreTuner");
  add_asynchronous<close_run<PivotalTuner>>(exports, "closeTuner");
  add_asynchronous<apply>(exports, "applyDifference");
  add_asynchronous<synthesize_noise>(exports, "synthesizeNoise");
}

}  // namespace styleclip::binding
