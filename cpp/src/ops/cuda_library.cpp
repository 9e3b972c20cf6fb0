// Opening the CUDA kernels when a CUDA device is asked for. libtorch's own CUDA half comes first: its static
// initialisers register every CUDA kernel of libtorch, and styleclip_cuda.so adds ours. Everything is opened by
// absolute path, so that no other libtorch of the machine can slip in.
#include <ATen/Parallel.h>
#include <dlfcn.h>

#include <filesystem>

#include "ops/registry.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

namespace fs = std::filesystem;

// The directory that libtorch_cpu was loaded from.
fs::path libtorch_directory() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&at::get_num_threads), &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code ignored;
  const fs::path path = fs::weakly_canonical(info.dli_fname, ignored);
  return path.parent_path();
}

void open(const fs::path& path, const std::string& remedy) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) throw Error(ErrorCode::Device, "There is no " + path.string() + ".", remedy);
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr) return;
  const char* reason = dlerror();  // names the library that is missing: "libcudnn.so.9: cannot open shared object file"
  const std::string text = reason != nullptr ? reason : "no reason given";
  throw Error(ErrorCode::Device, "Cannot open " + path.string() + ": " + text, remedy, text);
}

}  // namespace

void load_cuda_library(const std::string& path) {
  if (path.empty() || !fs::path(path).is_absolute()) {
    throw Error(ErrorCode::Device, "The CUDA kernels' library is not given by an absolute path: \"" + path + "\".",
                "Build the package with CUDA (`npx styleclip setup --cuda`), or use the device cpu.");
  }
  register_ops();
  open(libtorch_directory() / "libtorch_cuda.so",
       "This libtorch has no CUDA half, or lacks a library that it needs: `npx styleclip setup --cuda` brings all of "
       "them.");
  open(path, "Build the package with CUDA (`npx styleclip setup --cuda`), or use the device cpu.");
}

}  // namespace styleclip
