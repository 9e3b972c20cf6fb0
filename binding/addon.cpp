#include "addon.h"

#include "cancel.h"
#include "groups.h"
#include "model.h"

namespace styleclip::binding {
namespace {

/// process.exit() and an uncaught exception run no cleanup hooks, only 'exit' listeners. The addon adds its own, so that
/// it is safe however it was loaded; a call made by a listener after this one is refused.
void drain_at_exit(Napi::Env env, const Napi::Value& drain) {
  const auto process = env.Global().Get("process").As<Napi::Object>();
  process.Get("on").As<Napi::Function>().Call(process, {Napi::String::New(env, "exit"), drain});
}

}  // namespace

Addon::Addon(Napi::Env env, Napi::Object exports)
    : environment_(env),
      cancel_class_(Napi::Persistent(Cancel::define(env))),
      model_class_(Napi::Persistent(ModelObject::define(env))) {
  export_process(env, exports);
  export_archives(env, exports);
  export_importing(env, exports);
  export_generator(env, exports);
  export_encoders(env, exports);
  export_relevance(env, exports);
  export_sharding(env, exports);
  export_editing(env, exports);
  export_optimizing(env, exports);
  export_encoder_training(env, exports);
  export_inverting(env, exports);
  export_mapper_training(env, exports);
  export_test_hooks(env, exports);
  drain_at_exit(env, exports.Get("drain"));
}

}  // namespace styleclip::binding

using StyleclipAddon = styleclip::binding::Addon;
NODE_API_NAMED_ADDON(styleclip, StyleclipAddon)
