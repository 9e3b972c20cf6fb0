#include "model.h"

#include <utility>

#include "addon.h"
#include "environment.h"
#include "errors.h"

namespace styleclip::binding {
namespace {

/// Marks our objects, so that a foreign one is refused before its memory is read as ours.
constexpr napi_type_tag kTag = {0x1f4b8e0c95d7436a, 0xb3826a7e4c0d91f5};

/// Tells V8 of memory that it cannot see. Never throws: it also runs in the garbage collector.
void account(napi_env env, LoadedModel& model, std::int64_t bytes) noexcept {
  std::int64_t total = 0;
  napi_adjust_external_memory(env, bytes - model.accounted, &total);
  model.accounted = bytes;
}

}  // namespace

Napi::Object write_layout(Napi::Env env, const StyleLayout& layout) {
  Napi::Array layers = Napi::Array::New(env, layout.layers.size());
  for (std::uint32_t i = 0; i < layout.layers.size(); ++i) {
    const StyleLayer& layer = layout.layers[i];
    Napi::Object object = Napi::Object::New(env);
    object["name"] = layer.name;
    object["resolution"] = static_cast<double>(layer.resolution);
    object["channels"] = static_cast<double>(layer.channels);
    object["toRgb"] = layer.to_rgb;
    object["wRow"] = static_cast<double>(layer.w_row);
    object["offset"] = static_cast<double>(layer.offset);
    layers[i] = object;
  }
  Napi::Object object = Napi::Object::New(env);
  object["layers"] = layers;
  object["rows"] = static_cast<double>(layout.rows);
  object["total"] = static_cast<double>(layout.total());
  object["convChannels"] = static_cast<double>(layout.conv_channels());
  object["torgbChannels"] = static_cast<double>(layout.torgb_channels());
  return object;
}

LoadedModel::LoadedModel(std::shared_ptr<Model> model, std::string asked, std::string path,
                         std::optional<StyleLayout> style_layout)
    : kind(std::move(asked)),
      file(std::move(path)),
      description(model->description().json),
      tokenizer(model->description().tokenizer),
      sha256(model->sha256()),
      device(model->device()),
      dtype(model->dtype()),
      memory_bytes(model->memory_bytes()),
      layout(std::move(style_layout)),
      thread(DeviceThread::of(device)),
      model_(std::move(model)) {}

LoadedModel::~LoadedModel() { release(); }

void LoadedModel::release() {
  if (model_ != nullptr) thread.discard(std::move(model_));
}

template <Napi::Value (ModelObject::*member)(Napi::Env) const>
Napi::ClassPropertyDescriptor<ModelObject> ModelObject::property(const char* name) {
  napi_property_descriptor descriptor{};
  descriptor.utf8name = name;
  descriptor.attributes = napi_enumerable;
  descriptor.getter = [](napi_env env, napi_callback_info info) -> napi_value {
    try {
      napi_value self = nullptr;
      if (napi_get_cb_info(env, info, nullptr, nullptr, &self, nullptr) != napi_ok) throw Napi::Error::New(env);
      return (from(Napi::Value(env, self)).*member)(env);
    } catch (...) {
      current_error(env, "read a property").ThrowAsJavaScriptException();
      return nullptr;
    }
  };
  return descriptor;
}

Napi::Function ModelObject::define(Napi::Env env) {
  return DefineClass(env, "NativeModel",
                     {
                         property<&ModelObject::text<&LoadedModel::kind>>("kind"),
                         property<&ModelObject::text<&LoadedModel::description>>("description"),
                         property<&ModelObject::text<&LoadedModel::tokenizer>>("tokenizer"),
                         property<&ModelObject::text<&LoadedModel::file>>("file"),
                         property<&ModelObject::text<&LoadedModel::sha256>>("sha256"),
                         property<&ModelObject::text<&LoadedModel::device>>("device"),
                         property<&ModelObject::text<&LoadedModel::dtype>>("dtype"),
                         property<&ModelObject::memory_bytes>("memoryBytes"),
                         property<&ModelObject::closed>("closed"),
                         property<&ModelObject::layout>("layout"),
                         InstanceMethod<&ModelObject::close>("close"),
                     });
}

Napi::Object ModelObject::create(Napi::Env env, std::shared_ptr<LoadedModel> model) {
  // The constructor is reachable from JavaScript (object.constructor): only this External lets it make an object.
  const auto handed_over = Napi::External<std::shared_ptr<LoadedModel>>::New(env, &model);
  handed_over.TypeTag(&kTag);
  return env.GetInstanceData<Addon>()->model_class().New({handed_over});
}

ModelObject::ModelObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelObject>(info) {
  if (!info[0].IsExternal() || !info[0].As<Napi::External<std::shared_ptr<LoadedModel>>>().CheckTypeTag(&kTag)) {
    throw to_js(info.Env(),
                {code_name(ErrorCode::Argument), "NativeModel has no public constructor", "Use load().", ""});
  }
  model_ = *info[0].As<Napi::External<std::shared_ptr<LoadedModel>>>().Data();
  Value().TypeTag(&kTag);
  Environment::of(info.Env()).adopt(model_);
  account(info.Env(), *model_, model_->memory_bytes);
}

ModelObject& ModelObject::from(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    refuse(ErrorCode::Argument, "model must come from load()", "Pass what load() returned, in the same thread.");
  }
  return *Unwrap(value.As<Napi::Object>());
}

std::shared_ptr<LoadedModel> ModelObject::open(const Napi::Value& value, const char* kind) {
  const std::shared_ptr<LoadedModel>& model = from(value).model_;
  if (model->closed) refuse(ErrorCode::Closed, model->file + " was closed", "Load it again.");
  if (kind != nullptr && model->kind != kind) {
    refuse(ErrorCode::ModelKind, model->file + " was loaded as '" + model->kind + "', not as '" + kind + "'",
           std::string("Pass a model that was loaded as '") + kind + "'.");
  }
  return model;
}

void ModelObject::Finalize(Napi::BasicEnv env) {
  if (model_ != nullptr) account(env, *model_, 0);
}

Napi::Value ModelObject::memory_bytes(Napi::Env env) const {
  return Napi::Number::New(env, static_cast<double>(model_->accounted));
}

Napi::Value ModelObject::closed(Napi::Env env) const { return Napi::Boolean::New(env, model_->closed); }

Napi::Value ModelObject::layout(Napi::Env env) const {
  const auto& known = model_->layout;
  return known ? write_layout(env, *known) : env.Undefined();
}

Napi::Value ModelObject::close(const Napi::CallbackInfo& info) {
  model_->closed = true;
  // A second close() queues behind the first, so it too resolves when the memory is free.
  return Environment::of(info.Env())
      .call(
          model_->thread, info.Env().Undefined(), "close " + model_->file,
          [model = model_](const RunContext&) { model->free(); },
          [model = model_](Napi::Env env) -> Napi::Value {
            account(env, *model, 0);
            return env.Undefined();
          });
}

}  // namespace styleclip::binding
