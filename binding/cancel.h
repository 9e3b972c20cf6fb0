// NativeCancel: stops the calls that were given it. One may be given to any number of calls, of any device.
#pragma once

#include <cstdint>

#include "setup.h"

namespace styleclip::binding {

class Cancel final : public Napi::ObjectWrap<Cancel> {
 public:
  static Napi::Function define(Napi::Env env);
  /// createCancel()
  static Napi::Value create(const Napi::CallbackInfo& info);
  /// Throws Argument for anything but a NativeCancel.
  static Cancel& from(const Napi::Value& value);

  explicit Cancel(const Napi::CallbackInfo& info);
  std::uint64_t id() const noexcept { return id_; }
  bool aborted() const noexcept { return aborted_; }

 private:
  Napi::Value abort(const Napi::CallbackInfo& info);

  std::uint64_t id_;
  bool aborted_ = false;
};

}  // namespace styleclip::binding
