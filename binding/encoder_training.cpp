// Training an encoder. openEncoderTraining gives a handle, advanceEncoderTraining makes some steps, each a call of its own:
// validation, checkpoints and the log between them are calls like any other.
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
#include "styleclip/encoder_training.h"

namespace styleclip::binding {

template <>
constexpr RunKind kRunKind<EncoderTrainer> = {
    {0x3b71c9d2e05846faULL, 0x9a4de8f01c6b7253ULL}, "training", "openEncoderTraining"};

namespace {

using Tensors = std::map<std::string, at::Tensor>;

using Handle = RunHandle<EncoderTrainer>;

EncoderTrainingOptions read_options(const Options& options) {
  EncoderTrainingOptions wanted;
  wanted.steps = options.integer("steps", 1, kMostInteger);
  wanted.batch = options.integer("batch", 2, 4096);
  wanted.image_batch = options.integer("imageBatch", 0, 4096);
  wanted.optimizer = options.choice<TrainingOptimizer>(
      "optimizer", {{"adam", TrainingOptimizer::Adam}, {"ranger", TrainingOptimizer::Ranger}});
  wanted.learning_rate = options.number("learningRate");
  wanted.warm_up = options.integer("warmUp", 0, kMostInteger);
  wanted.lambda_latent = options.number("lambdaLatent");
  wanted.lambda_image = options.number("lambdaImage");
  wanted.lambda_id = options.number("lambdaId");
  wanted.lambda_clip = options.number("lambdaClip");
  wanted.lambda_delta = options.number("lambdaDelta");
  wanted.truncation_psi = options.number("truncationPsi");
  wanted.mixing = options.number("mixing");
  wanted.augmentation = options.number("augmentation");
  wanted.clip_gradient = options.number("clipGradient");
  wanted.bfloat16 = options.boolean("bfloat16");
  wanted.validation = options.integer("validation", 1, kMostInteger);
  wanted.seed = options.seed("seed");
  return wanted;
}

Napi::Value open_training(const Napi::CallbackInfo& info) {
  Models models = {ModelObject::open(info[0], "generator"), ModelObject::open(info[1], "encoder")};
  std::shared_ptr<LoadedModel> clip, identity;
  if (!info[2].IsUndefined()) models.push_back(clip = ModelObject::open(info[2], "clip"));
  if (!info[3].IsUndefined()) models.push_back(identity = ModelObject::open(info[3], "identity"));
  const EncoderTrainingOptions options = read_options(Options(info[4], "options"));
  const Handle opened = make_run<EncoderTrainer>(info.Env(), std::move(models));
  return Environment::of(info.Env())
      .call(
          opened->thread, info[5], "start training an encoder",
          [opened, clip, identity, options](const RunContext& run) {
            const Models& all = opened->models;
            opened->inside = std::make_shared<EncoderTrainer>(
                all[0]->get<Generator>(), all[1]->get<Encoder>(), clip == nullptr ? nullptr : &clip->get<Clip>(),
                identity == nullptr ? nullptr : &identity->get<Identity>(), options, run);
          },
          [opened](Napi::Env env) { return write_run(env, opened); });
}

struct Progressed {
  EncoderLoss loss;
  std::int64_t step = 0, best_step = 0;
  double best = 0;
};

Progressed progressed(const EncoderTrainer& trainer, const EncoderLoss& loss) {
  return {loss, trainer.step(), trainer.best_step(), trainer.best_image()};
}

Napi::Value write_progressed(Napi::Env env, Progressed&& made) {
  Napi::Object loss = Napi::Object::New(env);
  loss["total"] = made.loss.total;
  loss["latent"] = made.loss.latent;
  loss["image"] = made.loss.image;
  loss["id"] = made.loss.id;
  loss["clip"] = made.loss.clip;
  loss["delta"] = made.loss.delta;
  Napi::Object object = Napi::Object::New(env);
  object["loss"] = loss;
  object["step"] = static_cast<double>(made.step);
  object["bestStep"] = static_cast<double>(made.best_step);
  object["best"] = made.best;
  return object;
}

Napi::Value advance(const Napi::CallbackInfo& info) {
  const Handle opened = read_run<EncoderTrainer>(info[0]);
  const std::int64_t steps = read_steps(info[1]);
  return Environment::of(info.Env())
      .call(
          opened->thread, info[2], "train an encoder",
          [opened, steps](const RunContext& run) {
            EncoderTrainer& trainer = opened->get();
            const EncoderLoss loss = trainer.advance(steps, run);
            return progressed(trainer, loss);
          },
          write_progressed);
}

Napi::Value validate(const Napi::CallbackInfo& info) {
  const Handle opened = read_run<EncoderTrainer>(info[0]);
  return Environment::of(info.Env())
      .call(
          opened->thread, info[1], "validate an encoder",
          [opened](const RunContext& run) {
            EncoderTrainer& trainer = opened->get();
            const EncoderLoss loss = trainer.validate(run);
            return progressed(trainer, loss);
          },
          write_progressed);
}

Napi::Value state(const Napi::CallbackInfo& info) {
  const Handle opened = read_run<EncoderTrainer>(info[0], false);
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), "read the state of a training",
          [opened](const RunContext&) {
            Tensors all = opened->get().state();
            for (auto& [name, tensor] : all) tensor = to_host(tensor);
            return all;
          },
          [](Napi::Env env, Tensors&& all) -> Napi::Value { return write_tensors(env, all); });
}

Napi::Value restore(const Napi::CallbackInfo& info) {
  const Handle opened = read_run<EncoderTrainer>(info[0]);
  const HostArrays arrays = read_tensors(info[1], "state", {at::kFloat, at::kDouble, at::kLong});
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), "go on with a training",
          [opened, arrays](const RunContext&) { opened->get().restore(tensors_of(arrays)); },
          [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

Napi::Value write(const Napi::CallbackInfo& info) {
  const Handle opened = read_run<EncoderTrainer>(info[0], false);
  const Options options(info[1], "options");
  const std::string file = options.text("file"), dtype = options.text("storageDtype"),
                    licence = options.text("licence");
  const bool best = options.boolean("best");
  return Environment::of(info.Env())
      .call(
          opened->thread, info[2], "write an encoder",
          [=](const RunContext& run) {
            const EncoderTrainer& trainer = opened->get();
            const Tensors weights = trainer.weights(best);
            MakeRequest request;
            request.kind = "e4e";
            request.config_json = trainer.config();
            request.weights = &weights;
            request.storage_dtype = dtype;
            request.licence = licence;
            request.source_format = "encoder training";
            request.generator_sha256 = opened->models.front()->sha256;  // also of one that was closed
            return write_archive(request, file, run);
          },
          [](Napi::Env env, WrittenArchive&& written) -> Napi::Value {
            Napi::Object object = Napi::Object::New(env);
            object["bytes"] = static_cast<double>(written.bytes);
            object["sha256"] = written.sha256;
            object["parameters"] = static_cast<double>(written.parameters);
            return object;
          });
}

}  // namespace

void export_encoder_training(Napi::Env /*env*/, Napi::Object exports) {
  add_asynchronous<open_training>(exports, "openEncoderTraining");
  add_asynchronous<advance>(exports, "advanceEncoderTraining");
  add_asynchronous<validate>(exports, "validateEncoder");
  add_asynchronous<state>(exports, "encoderTrainingState");
  add_asynchronous<restore>(exports, "restoreEncoderTraining");
  add_asynchronous<write>(exports, "writeTrainedEncoder");
  add_asynchronous<close_run<EncoderTrainer>>(exports, "closeEncoderTraining");
}

}  // namespace styleclip::binding
