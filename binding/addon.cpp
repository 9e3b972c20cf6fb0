#include "addon.h"

#include "cancel.h"
#include "groups.h"
#include "model.h"

namespace styleclip::binding {

Addon::Addon(Napi::Env env, Napi::Object exports)
    : environment_(env),
      cancel_class_(Napi::Persistent(Cancel::define(env))),
      model_class_(Napi::Persistent(ModelObject::define(env))) {
  export_process(env, exports);
  export_archives(env, exports);
  export_generator(env, exports);
  export_encoders(env, exports);
  export_relevance(env, exports);
  export_editing(env, exports);
  export_test_hooks(env, exports);
}

}  // namespace styleclip::binding

using StyleclipAddon = styleclip::binding::Addon;
NODE_API_NAMED_ADDON(styleclip, StyleclipAddon)
