// NativeModel: a loaded model as JavaScript holds it. close() frees the memory on the device thread, in the order of
// calls; the garbage collector is the safety net. V8 is told of the memory in both directions.
//
// Three owners, three lifetimes: the JavaScript object and the jobs share a LoadedModel; the core's model inside it is
// touched by the device thread alone, also when it is destroyed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "device_thread.h"
#include "setup.h"
#include "styleclip/error.h"
#include "styleclip/models.h"

namespace styleclip::binding {

class LoadedModel final : public DeviceObject {
 public:
  /// `asked` is the kind that load() was asked for; `file` the path as given. Device thread.
  LoadedModel(std::shared_ptr<Model> model, std::string asked, std::string file, std::optional<StyleLayout> layout);
  ~LoadedModel() override;
  LoadedModel(const LoadedModel&) = delete;
  LoadedModel& operator=(const LoadedModel&) = delete;

  /// The core's model, of the class that goes with `kind`; throws Closed once it was freed. Device thread.
  template <class T>
  T& get() const {
    if (model_ == nullptr) throw Error(ErrorCode::Closed, file + " was closed.", "Load it again.");
    return static_cast<T&>(*model_);
  }
  /// Device thread: frees the model.
  void free() { model_.reset(); }
  /// Any thread, once no job can run any more: has the device thread free the model.
  void release() override;

  const std::string kind;
  const std::string file;
  const std::string description, tokenizer, sha256, device, dtype;
  const std::int64_t memory_bytes;
  const std::optional<StyleLayout> layout;
  DeviceThread& thread;

  // JavaScript thread only.
  bool closed = false;
  std::int64_t accounted = 0;  // bytes that V8 was told of

 private:
  std::shared_ptr<Model> model_;
};

/// A style layout as JavaScript has it.
Napi::Object write_layout(Napi::Env env, const StyleLayout& layout);

/// The JavaScript object.
class ModelObject final : public Napi::ObjectWrap<ModelObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, std::shared_ptr<LoadedModel> model);
  /// The model behind an argument. Throws Argument for anything but a NativeModel, Closed, or ModelKind when `kind` is
  /// given and differs.
  static std::shared_ptr<LoadedModel> open(const Napi::Value& value, const char* kind = nullptr);

  explicit ModelObject(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;

 private:
  /// Throws Argument for anything but a NativeModel.
  static ModelObject& from(const Napi::Value& value);

  template <const std::string LoadedModel::* field>
  Napi::Value text(Napi::Env env) const {
    return Napi::String::New(env, (*model_).*field);
  }
  Napi::Value memory_bytes(Napi::Env env) const;
  Napi::Value closed(Napi::Env env) const;
  Napi::Value layout(Napi::Env env) const;
  Napi::Value close(const Napi::CallbackInfo& info);

  /// A property. Node-API binds methods to objects of their class, but not getters: one can be run on any object
  /// (Reflect.get), so the receiver is checked before its memory is read as ours.
  template <Napi::Value (ModelObject::*member)(Napi::Env) const>
  static Napi::ClassPropertyDescriptor<ModelObject> property(const char* name);

  std::shared_ptr<LoadedModel> model_;
};

}  // namespace styleclip::binding
