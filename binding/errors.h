// From C++ exceptions to JavaScript errors, in two steps that may run on two threads: a Failure is plain text, made where
// the exception was caught; to_js makes the Error object on the JavaScript thread. Nothing else in the binding builds an
// error, so nothing of libtorch's own text reaches JavaScript as a message.
#pragma once

#include <string>

#include "setup.h"
#include "styleclip/error.h"

namespace styleclip::binding {

/// What JavaScript is told: `code` is 'ERR_STYLECLIP_…', or 'ABORTED' for a call that was stopped on request.
struct Failure {
  std::string code;
  std::string message;
  std::string remedy;
  std::string cause;  // native text, for a report; may be empty
};

/// Describes the exception being handled; call inside a catch block only. `doing` says what was tried.
Failure current_failure(const std::string& doing) noexcept;

/// What a call that was stopped on request rejects with.
Failure aborted();

/// An Error with `code`, `remedy` and `causeText`.
Napi::Error to_js(Napi::Env env, const Failure& failure);

/// The exception being handled as a JavaScript error; one that JavaScript itself threw stays what it was.
Napi::Error current_error(Napi::Env env, const std::string& doing);

/// Refuses an argument: code ARGUMENT, SHAPE or RANGE.
[[noreturn]] void refuse(ErrorCode code, const std::string& message, const std::string& remedy);

/// A function of the addon that answers at once: what it throws, JavaScript catches.
template <Napi::Value (*function)(const Napi::CallbackInfo&)>
Napi::Value synchronous(const Napi::CallbackInfo& info) {
  try {
    return function(info);
  } catch (...) {
    throw current_error(info.Env(), "run a function of the addon");
  }
}

/// A function of the addon that returns a promise: what it throws, wrong arguments included, rejects the promise.
template <Napi::Value (*function)(const Napi::CallbackInfo&)>
Napi::Value asynchronous(const Napi::CallbackInfo& info) {
  try {
    return function(info);
  } catch (...) {
    const Napi::Error error = current_error(info.Env(), "start a call");
    const auto deferred = Napi::Promise::Deferred::New(info.Env());
    deferred.Reject(error.Value());
    return deferred.Promise();
  }
}

}  // namespace styleclip::binding
