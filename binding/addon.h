// The addon of one environment: the classes it makes objects of, and the environment's state. Instance data, so nothing
// that belongs to JavaScript is ever static.
#pragma once

#include "environment.h"
#include "setup.h"

namespace styleclip::binding {

class Addon final : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports);

  Environment& environment() noexcept { return environment_; }
  Napi::FunctionReference& cancel_class() noexcept { return cancel_class_; }
  Napi::FunctionReference& model_class() noexcept { return model_class_; }

 private:
  Environment environment_;
  Napi::FunctionReference cancel_class_;
  Napi::FunctionReference model_class_;
};

}  // namespace styleclip::binding
