// Opens libtorch before the addon that needs it.
//
// The addon names libtorch_cpu.so and libc10.so without a path. Left to itself the dynamic linker would take whatever
// libtorch stands in its default directories, and a wrong one ends the process at the first call. The linker matches such
// names against libraries that are already open, so ts/load.ts finds the right files, and this little library, which
// needs nothing of libtorch itself, opens them by absolute path first.
//
// RTLD_LOCAL: libtorch exports tens of thousands of symbols (uv_*, cblas_*, mkl_*) that no later addon should see.
// RTLD_NOW: a file that does not fit must fail here, where it can be reported. RTLD_NODELETE: never unmapped.
//
// libgomp reads OMP_WAIT_POLICY when it is opened. Its default is to spin between parallel loops, which on cores that
// others use too took four times the processor time for the same sweep, and twice as long (two threads beside a
// compiler); so unless the user says otherwise its threads wait passively. Set here and not in JavaScript, because a
// worker's process.env is a copy that the process never sees.
#include <dlfcn.h>
#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>

namespace {

bool read_string(napi_env env, napi_value value, std::string& out) {
  std::size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return false;
  out.resize(length + 1);
  if (napi_get_value_string_utf8(env, value, out.data(), out.size(), &length) != napi_ok) return false;
  out.resize(length);
  return true;
}

napi_value open_all(napi_env env, napi_value paths) {
  std::uint32_t count = 0;
  if (napi_get_array_length(env, paths, &count) != napi_ok) {
    napi_throw_type_error(env, nullptr, "open(paths): paths must be an array of strings");
    return nullptr;
  }
  setenv("OMP_WAIT_POLICY", "passive", /*overwrite=*/0);
  std::string path;
  for (std::uint32_t i = 0; i < count; ++i) {
    napi_value item = nullptr;
    if (napi_get_element(env, paths, i, &item) != napi_ok || !read_string(env, item, path) || path.empty() ||
        path.front() != '/') {
      napi_throw_type_error(env, nullptr, "open(paths): every path must be an absolute path");
      return nullptr;
    }
    if (dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) == nullptr) {
      const char* reason = dlerror();
      napi_throw_error(env, nullptr, reason != nullptr ? reason : ("cannot open " + path).c_str());
      return nullptr;
    }
  }
  return nullptr;
}

/// open(paths: string[]): void. Opens the files in the order given; throws the linker's own text.
napi_value open(napi_env env, napi_callback_info info) noexcept {
  std::size_t argc = 1;
  napi_value paths = nullptr;
  if (napi_get_cb_info(env, info, &argc, &paths, nullptr, nullptr) != napi_ok) return nullptr;
  try {
    return open_all(env, paths);
  } catch (const std::bad_alloc&) {
    napi_throw_error(env, nullptr, "out of memory");
    return nullptr;
  }
}

}  // namespace

NAPI_MODULE_INIT() {
  napi_value function = nullptr;
  if (napi_create_function(env, "open", NAPI_AUTO_LENGTH, open, nullptr, &function) != napi_ok ||
      napi_set_named_property(env, exports, "open", function) != napi_ok) {
    return nullptr;
  }
  return exports;
}
