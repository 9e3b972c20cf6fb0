#include "cancel.h"

#include "addon.h"
#include "environment.h"
#include "errors.h"

namespace styleclip::binding {
namespace {

/// Marks our objects, so that a foreign one is refused before its memory is read as ours.
constexpr napi_type_tag kTag = {0x6d9c2f7a41b84e53, 0x9a0e5d1c7f3b2846};

}  // namespace

Napi::Function Cancel::define(Napi::Env env) {
  return DefineClass(env, "NativeCancel", {InstanceMethod<&Cancel::abort>("abort")});
}

Napi::Value Cancel::create(const Napi::CallbackInfo& info) {
  return info.Env().GetInstanceData<Addon>()->cancel_class().New({});
}

Cancel::Cancel(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Cancel>(info), id_(Environment::of(info.Env()).next_cancel()) {
  Value().TypeTag(&kTag);
}

Cancel& Cancel::from(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    refuse(ErrorCode::Argument, "cancel must come from createCancel()", "Pass what createCancel() returned.");
  }
  return *Unwrap(value.As<Napi::Object>());
}

Napi::Value Cancel::abort(const Napi::CallbackInfo& info) {
  if (!aborted_) {
    aborted_ = true;
    Environment::of(info.Env()).abort(id_);
  }
  return info.Env().Undefined();
}

}  // namespace styleclip::binding
