// Puts a function on the exports object under the name that ts/native.ts gives it.
#pragma once

#include "errors.h"
#include "setup.h"

namespace styleclip::binding {

using Function = Napi::Value (*)(const Napi::CallbackInfo&);

/// One that throws.
template <Function function>
void add_synchronous(Napi::Object exports, const char* name) {
  exports[name] = Napi::Function::New<&synchronous<function>>(exports.Env(), name);
}

/// One that returns a promise, which it rejects.
template <Function function>
void add_asynchronous(Napi::Object exports, const char* name) {
  exports[name] = Napi::Function::New<&asynchronous<function>>(exports.Env(), name);
}

}  // namespace styleclip::binding
