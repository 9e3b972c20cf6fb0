// Latent optimisation. openOptimizer gives a handle, advanceOptimizer makes some steps, each a call of its own: pictures in
// between, and a state that is on the disk, are calls like any other.
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
#include "pictures.h"
#include "styleclip/optimizer.h"

namespace styleclip::binding {

template <>
constexpr RunKind kRunKind<LatentOptimizer> = {
    {0x7d0c4a91be355e21, 0x86f1d3307a94c2e8}, "optimization", "openOptimizer"};

namespace {

using Handle = RunHandle<LatentOptimizer>;

OptimizerOptions read_options(const Options& options) {
  OptimizerOptions wanted;
  wanted.space = options.choice<LatentSpace>(
      "space", {{"w", LatentSpace::W}, {"w_plus", LatentSpace::WPlus}, {"s", LatentSpace::S}});
  wanted.layers = options.texts("layers");
  wanted.objective.lambda_clip = options.number("lambdaClip");
  wanted.objective.lambda_l2 = options.number("lambdaL2");
  wanted.objective.lambda_id = options.number("lambdaId");
  wanted.objective.l2_mean = options.boolean("l2Mean");
  wanted.objective.clip_input =
      options.choice<ClipInput>("clipInput", {{"normalised", ClipInput::Normalised}, {"raw", ClipInput::Raw}});
  wanted.objective.noise = read_noise(options);
  wanted.steps = options.integer("steps", 1, 1'000'000);
  wanted.learning_rate = options.number("learningRate");
  wanted.in_sigmas = options.boolean("inSigmas");
  wanted.idle_first_step = options.boolean("idleFirstStep");
  wanted.patience = options.integer("patience", 0, kMostInteger);
  wanted.tolerance = options.number("tolerance");
  wanted.restarts = options.integer("restarts", 1, 1000);
  wanted.spread = options.number("spread");
  wanted.seed = options.seed("seed");
  wanted.batch = options.integer("batch", 0, kMostInteger);
  return wanted;
}

Napi::Value open_optimizer(const Napi::CallbackInfo& info) {
  Models models = {ModelObject::open(info[0], "generator"), ModelObject::open(info[1], "clip")};
  if (!info[2].IsUndefined()) models.push_back(ModelObject::open(info[2], "identity"));
  HostArray sources = read_tensor(info[3], {"latents", {at::kFloat}});
  HostArray texts = read_tensor(info[4], {"texts", {at::kFloat}, 3});
  const OptimizerOptions options = read_options(Options(info[5], "options"));
  const Handle opened = make_run<LatentOptimizer>(info.Env(), std::move(models));
  return Environment::of(info.Env())
      .call(
          opened->thread, info[6], "start an optimization",
          [opened, sources = std::move(sources), texts = std::move(texts), options](const RunContext& run) {
            const Models& all = opened->models;
            opened->inside = std::make_shared<LatentOptimizer>(
                all[0]->get<Generator>(), all[1]->get<Clip>(), all.size() > 2 ? &all[2]->get<Identity>() : nullptr,
                sources.view().clone(), texts.view().clone(), options, run);
          },
          [opened](Napi::Env env) { return write_run(env, opened); });
}

struct Advanced {
  bool running = false;
  std::int64_t step = 0;
  at::Tensor best;
};

Napi::Value advance(const Napi::CallbackInfo& info) {
  const Handle opened = read_run<LatentOptimizer>(info[0]);
  const std::int64_t steps = read_steps(info[1]);
  return Environment::of(info.Env())
      .call(
          opened->thread, info[2], "optimize latents",
          [opened, steps](const RunContext& run) -> Advanced {
            LatentOptimizer& optimizer = opened->get();
            const bool running = optimizer.advance(steps, run);
            return {running, optimizer.step(), to_host(optimizer.best_totals())};
          },
          [](Napi::Env env, Advanced&& advanced) -> Napi::Value {
            Napi::Object object = Napi::Object::New(env);
            object["running"] = advanced.running;
            object["step"] = static_cast<double>(advanced.step);
            object["best"] = write_array(env, advanced.best);
            return object;
          });
}

/// The tensors of a state under their names.
template <class State, class Use>
void each_tensor(State& state, Use&& use) {
  use("point", state.point);
  use("firstMoment", state.first_moment);
  use("secondMoment", state.second_moment);
  use("best", state.best);
  use("bestTotal", state.best_total);
  use("bestStep", state.best_step);
  use("curves", state.curves);
  use("reason", state.reason);
  use("mark", state.mark);
}

Napi::Value state(const Napi::CallbackInfo& info) {
  const Handle opened = read_run<LatentOptimizer>(info[0], false);
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), "read the state of an optimization",
          [opened](const RunContext&) {
            OptimizerState state = opened->get().state();
            each_tensor(state, [](const char*, at::Tensor& tensor) { tensor = to_host(tensor); });
            return state;
          },
          [](Napi::Env env, OptimizerState&& state) -> Napi::Value {
            Napi::Object object = Napi::Object::New(env);
            each_tensor(state, [&](const char* name, at::Tensor& tensor) { object[name] = write_tensor(env, tensor); });
            object["step"] = static_cast<double>(state.step);
            return object;
          });
}

Napi::Value restore(const Napi::CallbackInfo& info) {
  const Handle opened = read_run<LatentOptimizer>(info[0]);
  const Options given(info[1], "state");
  auto arrays = std::make_shared<std::vector<HostArray>>();
  OptimizerState shape;
  each_tensor(shape, [&](const char* name, at::Tensor&) {
    arrays->push_back(read_tensor(given.value(name), {given.path(name), {at::kFloat, at::kDouble, at::kLong}}));
  });
  const std::int64_t step = given.integer("step", 0, kMostInteger);
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), "go on with an optimization",
          [opened, arrays, step](const RunContext&) {
            OptimizerState state;
            std::size_t i = 0;
            each_tensor(state, [&](const char*, at::Tensor& tensor) { tensor = (*arrays)[i++].view().clone(); });
            state.step = step;
            opened->get().restore(state);
          },
          [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

Napi::Value latents(const Napi::CallbackInfo& info) {
  const Handle opened = read_run<LatentOptimizer>(info[0], false);
  const bool best = read_best(info[1]);
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), "read latents",
          [opened, best](const RunContext&) { return to_host(opened->get().latents(best)); },
          [](Napi::Env env, at::Tensor&& host) -> Napi::Value { return write_tensor(env, host); });
}

}  // namespace

void export_optimizing(Napi::Env /*env*/, Napi::Object exports) {
  add_asynchronous<open_optimizer>(exports, "openOptimizer");
  add_asynchronous<advance>(exports, "advanceOptimizer");
  add_asynchronous<state>(exports, "optimizerState");
  add_asynchronous<restore>(exports, "restoreOptimizer");
  add_asynchronous<latents>(exports, "optimizerLatents");
  add_asynchronous<close_run<LatentOptimizer>>(exports, "closeOptimizer");
}

}  // namespace styleclip::binding
