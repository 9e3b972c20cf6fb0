// A run of many steps behind a JavaScript handle: optimisation, training, inversion. It is opened by one call and advanced by
// others, each of them a job of its own, so that pictures, checkpoints and other calls come in between.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "convert.h"
#include "environment.h"
#include "errors.h"
#include "model.h"

namespace styleclip::binding {

using Models = std::vector<std::shared_ptr<LoadedModel>>;

/// How a kind of run is told from others, and called in messages.
struct RunKind {
  napi_type_tag tag;
  const char* name;    // "training"
  const char* opener;  // the function that gives its handles
};

/// Specialised for every class that runs.
template <class Inside>
constexpr RunKind kRunKind = {};

/// A run under way. Jobs share it with the JavaScript handle; its inside belongs to the device thread.
template <class Inside>
class OpenedRun final : public DeviceObject {
 public:
  explicit OpenedRun(Models all) : models(std::move(all)), thread(models.front()->thread) {}
  ~OpenedRun() override { OpenedRun::release(); }
  OpenedRun(const OpenedRun&) = delete;
  OpenedRun& operator=(const OpenedRun&) = delete;

  void release() override {
    if (inside != nullptr) thread.discard(std::move(inside));
  }
  /// Device thread.
  Inside& get() const {
    if (inside == nullptr) {
      refuse(ErrorCode::Closed, std::string("the ") + kRunKind<Inside>.name + " was closed", "Start another.");
    }
    return *inside;
  }

  const Models models;  // all that the run refers to; the generator is the first
  DeviceThread& thread;
  std::shared_ptr<Inside> inside;  // device thread
};

template <class Inside>
using RunHandle = std::shared_ptr<OpenedRun<Inside>>;

/// The run of a handle. `models_open`: none of its models, which it holds references to, may be closed.
template <class Inside>
RunHandle<Inside> read_run(const Napi::Value& value, bool models_open = true) {
  constexpr const RunKind& kind = kRunKind<Inside>;
  if (!value.IsExternal() || !value.As<Napi::External<RunHandle<Inside>>>().CheckTypeTag(&kind.tag)) {
    refuse(ErrorCode::Argument, std::string(kind.name) + " must come from " + kind.opener + "()", "Pass its handle.");
  }
  RunHandle<Inside> opened = *value.As<Napi::External<RunHandle<Inside>>>().Data();
  for (const auto& model : opened->models) {
    if (models_open && model->closed) refuse(ErrorCode::Closed, model->file + " was closed", "Load it again.");
  }
  return opened;
}

template <class Inside>
Napi::Value write_run(Napi::Env env, const RunHandle<Inside>& opened) {
  using Handle = RunHandle<Inside>;
  auto external =
      Napi::External<Handle>::New(env, new Handle(opened), [](Napi::BasicEnv, Handle* data) { delete data; });
  external.TypeTag(&kRunKind<Inside>.tag);
  return external;
}

/// A run over these models, which its environment ends when it goes. They must be on one device.
template <class Inside>
RunHandle<Inside> make_run(Napi::Env env, Models models) {
  for (const auto& model : models) {
    if (model->device != models.front()->device) {
      refuse(ErrorCode::Argument, model->file + " is on another device than the generator", "Load all on one device.");
    }
  }
  auto opened = std::make_shared<OpenedRun<Inside>>(std::move(models));
  Environment::of(env).adopt(opened);
  return opened;
}

/// Frees what a run holds; closed already: nothing.
template <class Inside>
Napi::Value close_run(const Napi::CallbackInfo& info) {
  const RunHandle<Inside> opened = read_run<Inside>(info[0], false);
  return Environment::of(info.Env())
      .call(
          opened->thread, info.Env().Undefined(), std::string("close the ") + kRunKind<Inside>.name,
          [opened](const RunContext&) { opened->inside.reset(); },
          [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

}  // namespace styleclip::binding
