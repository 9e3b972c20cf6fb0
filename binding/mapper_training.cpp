// Training a mapper. openMapperTraining gives a handle, advanceMapperTraining makes some steps, each a call of its own, as
// with latent optimisation (optimizing.cpp).
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "convert.h"
#include "environment.h"
#include "errors.h"
#include "exports.h"
#include "groups.h"
#include "model.h"
#include "opened_run.h"
#include "pictures.h"
#include "styleclip/training.h"

namespace styleclip::binding {

template <>
constexpr RunKind kRunKind<MapperTrainer> = {
    {0x31f5a80c6e2947d3, 0x9be06d7714ac5f02}, "training", "openMapperTraining"};

namespace {

using Handle = RunHandle<MapperTrainer>;

MapperTrainingOptions read_options(const Options& options) {
  MapperTrainingOptions wanted;
  wanted.objective.lambda_clip = options.number("lambdaClip");
  wanted.objective.lambda_l2 = options.number("lambdaL2");
  wanted.objective.lambda_id = options.number("lambdaId");
  wanted.objective.clip_input =
      options.choice<ClipInput>("clipInput", {{"normalised", ClipInput::Normalised}, {"raw", ClipInput::Raw}});
  wanted.objective.noise = read_noise(options);
  wanted.optimizer = options.choice<TrainingOptimizer>(
      "optimizer", {{"ranger", TrainingOptimizer::Ranger}, {"adam", TrainingOptimizer::Adam}});
  wanted.learning_rate = options.number("learningRate");
  wanted.steps = options.integer("steps", 1, 1'000'000'000);
  wanted.batch = options.integer("batch", 1, 65'536);
  wanted.seed = options.seed("seed");
  wanted.shift = options.number("shift");
  wanted.truncation_psi = options.number("truncationPsi");
  wanted.validate_every = options.integer("validateEvery", 1, 1'000'000'000);
  return wanted;
}

Napi::Value open_training(const Napi::CallbackInfo& info) {
  Models models = {ModelObject::open(info[0], "generator"), ModelObject::open(info[1], "clip"),
                   ModelObject::open(info[3], "mapper")};
  if (!info[2].IsUndefined()) models.push_back(ModelObject::open(info[2], "identity"));
  HostArray texts = read_tensor(info[4], {"texts", {at::kFloat}, 2});
  std::optional<HostArray> latents;
  if (!info[5].IsUndefined()) latents = read_tensor(info[5], {"latents", {at::kFloat}});
  HostArray validation = read_tensor(info[6], {"validation", {at::kFloat}});
  const MapperTrainingOptions options = read_options(Options(info[7], "options"));
  const Handle opened = make_run<MapperTrainer>(info.Env(), std::move(models));
  return Environment::of(info.Env())
      .call(
          opened->thread, info[8], "start training a mapper",
          [opened, texts = std::move(texts), latents = std::move(latents), validation = std::move(validation),
           options](const RunContext& run) {
            const Models& all = opened->models;
            // Not owned: `models` keeps it as long as the trainer lives.
            const std::shared_ptr<Mapper> mapper(std::shared_ptr<void>(), &all[2]->get<Mapper>());
            opened->inside = std::make_shared<MapperTrainer>(
                all[0]->get<Generator>(), all[1]->get<Clip>(), all.size() > 3 ? &all[3]->get<Identity>() : nullptr,
                mapper, texts.view().clone(), latents ? latents->view().clone() : at::Tensor(),
                validation.view().clone(), options, run);
          },
          [opened](Napi::Env env) { return write_run(env, opened); });
}

/// What happened, and where the run is.
struct Situation {
  bool running = false;
  TrainingEnd end = TrainingEnd::Running;
  std::int64_t step = 0, best_step = 0;
  double best = 0;
  std::vector<MapperLogEntry> log;
};

Situation situation_of(MapperTrainer& trainer) {
  const TrainingEnd end = trainer.end();
  return {end == TrainingEnd::Running, end, trainer.step(), trainer.best_step(), trainer.best(), trainer.take_log()};
}

const char* end_name(TrainingEnd end) {
  switch (end) {
    case TrainingEnd::Running: return "running";
    case TrainingEnd::Steps: return "steps";
    case TrainingEnd::NotFinite: return "not-finite";
    case TrainingEnd::Exploded: break;
  }
  return "exploded";
}

Napi::Object write_situation(Napi::Env env, const Situation& situation) {
  Napi::Array log = Napi::Array::New(env, situation.log.size());
  for (std::uint32_t i = 0; i < situation.log.size(); ++i) {
    const MapperLogEntry& entry = situation.log[i];
    Napi::Object object = Napi::Object::New(env);
    object["step"] = static_cast<double>(entry.step);
    object["validation"] = entry.validation;
    object["best"] = entry.best;
    object["total"] = entry.loss.total;
    object["clip"] = entry.loss.clip;
    object["l2"] = entry.loss.l2;
    object["id"] = entry.loss.id;
    log[i] = object;
  }
  Napi::Object object = Napi::Object::New(env);
  object["running"] = situation.running;
  object["end"] = end_name(situation.end);
  object["step"] = static_cast<double>(situation.step);
  object["bestStep"] = static_cast<double>(situation.best_step);
  object["best"] = situation.best;
  object["log"] = log;
  return object;
}

Napi::Value advance(const Napi::CallbackInfo& info) {
  const Handle opened = read_run<MapperTrainer>(info[0]);
  const std::int64_t steps = read_steps(info[1]);
  return Environment::of(info.Env())
      .call(
          opened->thread, info[2], "train a mapper",
          [opened, steps](const RunContext& run) -> Situation {
            MapperTrainer& trainer = opened->get();
            trainer.advance(steps, run);
            return situation_of(trainer);
          },
          [](Napi::Env env, Situation&& situation) -> Napi::Value { return write_situation(env, situation); });
}

struct Snapshot {
  MapperTrainingState state;
  Situation situation;
};

Napi::Value state(const Napi::CallbackInfo& info) {
  const Handle opened = read_run<MapperTrainer>(info[0], false);
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), "read the state of a training",
          [opened](const RunContext&) -> Snapshot {
            MapperTrainer& trainer = opened->get();
            Snapshot snapshot{trainer.state(), situation_of(trainer)};
            for (auto& [name, tensor] : snapshot.state.tensors) tensor = to_host(tensor);
            return snapshot;
          },
          [](Napi::Env env, Snapshot&& snapshot) -> Napi::Value {
            Napi::Object tensors = Napi::Object::New(env);
            for (auto& [name, tensor] : snapshot.state.tensors) tensors[name] = write_tensor(env, tensor);
            Napi::Object object = Napi::Object::New(env);
            object["tensors"] = tensors;
            object["step"] = static_cast<double>(snapshot.state.step);
            object["bestStep"] = static_cast<double>(snapshot.state.best_step);
            object["validated"] = static_cast<double>(snapshot.state.validated);
            object["best"] = snapshot.state.best;
            object["first"] = snapshot.state.first;
            object["situation"] = write_situation(env, snapshot.situation);
            return object;
          });
}

Napi::Value restore(const Napi::CallbackInfo& info) {
  const Handle opened = read_run<MapperTrainer>(info[0]);
  const Options given(info[1], "state");
  const Napi::Value all = given.value("tensors");
  if (!all.IsObject()) refuse(ErrorCode::Argument, "state.tensors must be an object", "Pass a state's own.");
  const auto tensors = all.As<Napi::Object>();
  const Napi::Array names = tensors.GetPropertyNames();
  auto arrays = std::make_shared<std::map<std::string, HostArray>>();
  for (std::uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).ToString().Utf8Value();
    arrays->emplace(name, read_tensor(tensors.Get(name), {"state.tensors." + name, {at::kFloat}}));
  }
  MapperTrainingState state;
  state.step = given.integer("step", 0, kMostInteger);
  state.best_step = given.integer("bestStep", -1, kMostInteger);
  state.validated = given.integer("validated", -1, kMostInteger);
  state.best = given.number("best");
  state.first = given.number("first");
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), "go on with a training",
          [opened, arrays, state](const RunContext&) mutable {
            for (const auto& [name, array] : *arrays) state.tensors[name] = array.view().clone();
            opened->get().restore(state);
          },
          [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

Napi::Value write_best(const Napi::CallbackInfo& info) {
  const Handle opened = read_run<MapperTrainer>(info[0], false);
  const Options options(info[1], "options");
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), "write a mapper",
          [opened, file = options.text("file"), licence = options.text("licence"), training = options.text("training")](
              const RunContext& run) { opened->get().write_best(file, licence, training, run); },
          [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

}  // namespace

void export_mapper_training(Napi::Env /*env*/, Napi::Object exports) {
  add_asynchronous<open_training>(exports, "openMapperTraining");
  add_asynchronous<advance>(exports, "advanceMapperTraining");
  add_asynchronous<state>(exports, "mapperTrainingState");
  add_asynchronous<restore>(exports, "restoreMapperTraining");
  add_asynchronous<write_best>(exports, "writeTrainedMapper");
  add_asynchronous<close_run<MapperTrainer>>(exports, "closeMapperTraining");
}

}  // namespace styleclip::binding
