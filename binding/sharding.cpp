// A sweep in shards. openSweep gives a handle, nextShard one shard after another, each a call of its own: other calls of
// the device thread come in between, and what is on the disk is told of at once.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "environment.h"
#include "errors.h"
#include "exports.h"
#include "groups.h"
#include "model.h"
#include "styleclip/shards.h"
#include "sweep_arguments.h"

namespace styleclip::binding {
namespace {

/// A sweep under way. Jobs share it with the JavaScript handle; its inside belongs to the device thread.
class OpenSweep final : public DeviceObject {
 public:
  OpenSweep(std::shared_ptr<LoadedModel> generator_model, std::shared_ptr<LoadedModel> clip_model)
      : generator(std::move(generator_model)), clip(std::move(clip_model)), thread(generator->thread) {}
  ~OpenSweep() override { OpenSweep::release(); }
  OpenSweep(const OpenSweep&) = delete;
  OpenSweep& operator=(const OpenSweep&) = delete;

  void release() override {
    if (sweep != nullptr) thread.discard(std::move(sweep));
  }

  const std::shared_ptr<LoadedModel> generator, clip;
  DeviceThread& thread;
  std::shared_ptr<ShardedSweep> sweep;  // device thread
};

using SweepHandle = std::shared_ptr<OpenSweep>;
constexpr napi_type_tag kSweepTag = {0x2b7e81c5f04d4a9b, 0x95d36fa18e20c74d};

SweepHandle read_handle(const Napi::Value& value) {
  if (!value.IsExternal() || !value.As<Napi::External<SweepHandle>>().CheckTypeTag(&kSweepTag)) {
    refuse(ErrorCode::Argument, "sweep must come from openSweep()", "Pass its handle.");
  }
  return *value.As<Napi::External<SweepHandle>>().Data();
}

/// The core's sweep holds references to both models.
void require_open(const LoadedModel& model) {
  if (model.closed) refuse(ErrorCode::Closed, model.file + " was closed", "Load it again.");
}

Napi::Value open_sweep(const Napi::CallbackInfo& info) {
  SweepIn in(info);
  const Options options(info[3], "options");
  ShardOptions shards;
  shards.directory = options.text("directory");
  shards.part = options.integer("part", 1, kMostInteger);
  shards.parts = options.integer("parts", 1, kMostInteger);
  DeviceThread& thread = in.generator->thread;
  const auto opened = std::make_shared<OpenSweep>(in.generator, in.clip);
  Environment::of(info.Env()).adopt(opened);
  return Environment::of(info.Env())
      .call(
          thread, info[4], "open a sweep in " + shards.directory,
          [opened, in = std::move(in), shards](const RunContext& run) {
            opened->sweep =
                ShardedSweep::open(in.method, opened->generator->get<Generator>(), opened->clip->get<Clip>(),
                                   in.statistics.view(), in.options, shards, run);
            return opened->sweep->size();
          },
          [opened](Napi::Env env, std::int64_t&& size) -> Napi::Value {
            auto external = Napi::External<SweepHandle>::New(env, new SweepHandle(opened),
                                                             [](Napi::BasicEnv, SweepHandle* data) { delete data; });
            external.TypeTag(&kSweepTag);
            Napi::Object object = Napi::Object::New(env);
            object["handle"] = external;
            object["shards"] = static_cast<double>(size);
            return object;
          });
}

Napi::Value write_shard(Napi::Env env, const SweepShard& shard) {
  Napi::Object object = Napi::Object::New(env);
  object["id"] = shard.id;
  object["file"] = shard.file;
  object["channels"] = write_indices(env, shard.channels.data(), shard.channels.size());
  object["firstImage"] = static_cast<double>(shard.first_picture);
  object["images"] = static_cast<double>(shard.pictures);
  object["resumed"] = shard.resumed;
  object["batch"] = static_cast<double>(shard.batch);
  object["rendered"] = static_cast<double>(shard.rendered);
  object["done"] = static_cast<double>(shard.done);
  object["total"] = static_cast<double>(shard.total);
  object["warning"] = shard.warning;
  return object;
}

Napi::Value next_shard(const Napi::CallbackInfo& info) {
  const SweepHandle opened = read_handle(info[0]);
  require_open(*opened->generator);
  require_open(*opened->clip);
  return Environment::of(info.Env())
      .call(
          opened->thread, info[1], "sweep a shard",
          [opened](const RunContext& run) {
            if (opened->sweep == nullptr) refuse(ErrorCode::Closed, "the sweep was closed", "Open it again.");
            return opened->sweep->next(run);
          },
          [](Napi::Env env, std::optional<SweepShard>&& shard) -> Napi::Value {
            return shard ? write_shard(env, *shard) : env.Undefined();
          });
}

Napi::Value close_sweep(const Napi::CallbackInfo& info) {
  const SweepHandle opened = read_handle(info[0]);
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), "close a sweep",
          [opened](const RunContext&) { opened->sweep.reset(); },
          [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

Napi::Object write_plan(Napi::Env env, const PlannedSweep& plan) {
  Napi::Object object = Napi::Object::New(env);
  object["settings"] = plan.settings_json;
  object["layout"] = write_layout(env, plan.layout);
  object["statistics"] = write_statistics(env, plan.statistics);
  object["shards"] = static_cast<double>(plan.shards);
  object["present"] = static_cast<double>(plan.present);
  return object;
}

Napi::Value sweep_plan(const Napi::CallbackInfo& info) {
  const std::string directory = read_text(info[0], "directory");
  return Environment::of(info.Env())
      .call(
          DeviceThread::of("cpu"), info.Env().Undefined(), "read the plan in " + directory,
          [directory](const RunContext&) { return read_sweep_plan(directory); },
          [](Napi::Env env, std::optional<PlannedSweep>&& plan) -> Napi::Value {
            return plan ? write_plan(env, *plan) : env.Undefined();
          });
}

Napi::Value merge(const Napi::CallbackInfo& info) {
  const std::string directory = read_text(info[0], "directory");
  return Environment::of(info.Env())
      .call(
          DeviceThread::of("cpu"), info[1], "merge the shards in " + directory,
          [directory](const RunContext& run) {
            MergedSweep merged = merge_sweep(directory, run);
            to_host(merged.rows);
            return merged;
          },
          [](Napi::Env env, MergedSweep&& merged) -> Napi::Value {
            Napi::Array machines = Napi::Array::New(env, merged.machines.size());
            for (std::uint32_t i = 0; i < merged.machines.size(); ++i) machines[i] = merged.machines[i];
            Napi::Object object = Napi::Object::New(env);
            object["plan"] = write_plan(env, merged.plan);
            object["relevance"] = write_relevance(env, merged.rows);
            object["machines"] = machines;
            return object;
          });
}

}  // namespace

void export_sharding(Napi::Env /*env*/, Napi::Object exports) {
  add_asynchronous<open_sweep>(exports, "openSweep");
  add_asynchronous<next_shard>(exports, "nextShard");
  add_asynchronous<close_sweep>(exports, "closeSweep");
  add_asynchronous<sweep_plan>(exports, "sweepPlan");
  add_asynchronous<merge>(exports, "mergeSweep");
}

}  // namespace styleclip::binding
