// What concerns the process and the environment: versions, threads, devices, cancelling, going away.
#include <string>
#include <utility>
#include <vector>

#include "cancel.h"
#include "convert.h"
#include "environment.h"
#include "exports.h"
#include "groups.h"
#include "styleclip/ops.h"
#include "styleclip/runtime.h"

namespace styleclip::binding {
namespace {

/// More threads than any machine has cores is a slip.
constexpr std::int64_t kMostThreads = 4096;

Napi::Value configure(const Napi::CallbackInfo& info) {
  const auto threads = static_cast<int>(Options(info[0], "options").integer("threads", 0, kMostThreads));
  DeviceThread::configure(&Environment::of(info.Env()), threads);
  return info.Env().Undefined();
}

Napi::Value devices(const Napi::CallbackInfo& info) {
  const std::string library = read_text(info[0], "cudaLibrary");
  return Environment::of(info.Env())
      .call(
          DeviceThread::of("cpu"), info.Env().Undefined(), "list the devices",
          [library](const RunContext&) {
            if (!library.empty()) load_cuda_library(library);
            return available_devices();
          },
          [](Napi::Env env, std::vector<std::string>&& names) -> Napi::Value {
            Napi::Array list = Napi::Array::New(env, names.size());
            for (std::uint32_t i = 0; i < names.size(); ++i) list[i] = names[i];
            return list;
          });
}

Napi::Value drain(const Napi::CallbackInfo& info) {
  Environment::of(info.Env()).drain();
  return info.Env().Undefined();
}

Napi::Value pending(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(Environment::of(info.Env()).pending()));
}

Napi::Object versions(Napi::Env env) {
  Napi::Object object = Napi::Object::New(env);
  object["styleclip"] = STYLECLIP_VERSION;
  object["torch"] = torch_version();
  object["builtTorch"] = built_torch_version();
  object["napi"] = static_cast<double>(Napi::VersionManagement::GetNapiVersion(env));
  return object;
}

}  // namespace

void export_process(Napi::Env env, Napi::Object exports) {
  exports["versions"] = versions(env);
  add_synchronous<configure>(exports, "configure");
  add_asynchronous<devices>(exports, "devices");
  add_synchronous<Cancel::create>(exports, "createCancel");
  add_synchronous<drain>(exports, "drain");
  add_synchronous<pending>(exports, "pending");
}

}  // namespace styleclip::binding
