#include "errors.h"

#include <exception>
#include <new>
#include <utility>

namespace styleclip::binding {
namespace {

Failure describe(const Error& error) { return {code_name(error.code()), error.what(), error.remedy(), error.cause()}; }

Failure translated(const std::string& doing) {
  try {
    rethrow_translated(doing);
  } catch (const Aborted&) {
    return aborted();
  } catch (const Error& error) {
    return describe(error);
  }
}

}  // namespace

Failure aborted() { return {"ABORTED", "the call was stopped", "", ""}; }

Failure current_failure(const std::string& doing) noexcept {
  try {
    return translated(doing);
  } catch (...) {
    // The translator itself failed, which takes a lack of memory: short strings need none.
    return {code_name(ErrorCode::OutOfMemory), "no memory", "Use less.", ""};
  }
}

Napi::Error to_js(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.message);
  Napi::Object value = error.Value().As<Napi::Object>();
  value.Set("code", failure.code);
  value.Set("remedy", failure.remedy);
  value.Set("causeText", failure.cause);
  return error;
}

Napi::Error current_error(Napi::Env env, const std::string& doing) {
  try {
    throw;
  } catch (const Napi::Error& error) {
    return error;
  } catch (...) {
    return to_js(env, current_failure(doing));
  }
}

void refuse(ErrorCode code, const std::string& message, const std::string& remedy) {
  throw Error(code, message, remedy);
}

}  // namespace styleclip::binding
