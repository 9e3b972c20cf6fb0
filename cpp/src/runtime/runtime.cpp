// Process-wide settings of libtorch: threads, devices, the executor of scripts. CUDA is reached through ATen's hooks,
// which answer "none" until libtorch_cuda is opened, so nothing here links it.
#include "styleclip/runtime.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/headeronly/version.h>

#include <charconv>
#include <cstdint>

#include "runtime/thread_setting.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

std::int64_t cuda_devices() {
  // A driver that is there but broken throws; for the question "what can be used" that is the answer none.
  try {
    return at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().getNumGPUs() : 0;
  } catch (const std::exception&) {
    return 0;
  }
}

}  // namespace

std::string built_torch_version() {
  return std::to_string(TORCH_VERSION_MAJOR) + "." + std::to_string(TORCH_VERSION_MINOR) + "." +
         std::to_string(TORCH_VERSION_PATCH);
}

std::string torch_version() {
  // Answered by the library, not by the headers: one byte each of major, minor and patch, from the top.
  const std::uint64_t version = aoti_torch_abi_version();
  const auto part = [version](int byte) { return std::to_string((version >> (8 * byte)) & 0xff); };
  return part(7) + "." + part(6) + "." + part(5);
}

void set_threads(int threads) {
  if (threads < 0) {
    throw Error(ErrorCode::Range, "threads is " + std::to_string(threads) + ".", "Give 0 (the default) or more.");
  }
  if (threads == 0) return;
  const std::lock_guard lock(thread_setting());
  at::set_num_threads(threads);
}

int threads() { return at::get_num_threads(); }

std::mutex& thread_setting() {
  static std::mutex mutex;
  return mutex;
}

void prepare_thread() {
  {
    const std::lock_guard lock(thread_setting());
    // What is set on a thread's first use, in libtorch and in what its headers put here.
    at::get_num_threads();
    at::internal::lazy_init_num_threads();
    at::init_num_threads();
  }
  // With profiling on, every new batch size costs a recompilation of each method (7 to 9 ms on a tiny generator).
  torch::jit::getProfilingMode() = false;
}

std::vector<std::string> available_devices() {
  std::vector<std::string> names = {"cpu"};
  for (std::int64_t i = 0; i < cuda_devices(); ++i) names.push_back("cuda:" + std::to_string(i));
  return names;
}

std::string resolve_device(const std::string& wanted) {
  const std::int64_t count = cuda_devices();
  if (wanted == "cpu") return wanted;
  if (wanted == "auto") return count > 0 ? "cuda:0" : "cpu";
  std::int64_t index = -1;
  if (wanted == "cuda") index = 0;
  if (wanted.starts_with("cuda:")) {
    const char* end = wanted.data() + wanted.size();
    const auto [stop, error] = std::from_chars(wanted.data() + 5, end, index);
    if (error != std::errc() || stop != end) index = -1;
  }
  if (index < 0) {
    throw Error(ErrorCode::Argument, "'" + wanted + "' names no device.", "Use 'auto', 'cpu', 'cuda' or 'cuda:0'.");
  }
  if (index >= count) {
    const std::string have =
        count == 0 ? "no CUDA device is usable" : std::to_string(count) + " CUDA device(s) are usable";
    throw Error(ErrorCode::Device, "Device '" + wanted + "' is not there: " + have + ".",
                count == 0 ? "Use device 'cpu' or 'auto', or install libtorch for CUDA with `styleclip setup --cuda`."
                           : "Use a smaller number, or 'auto'.");
  }
  return "cuda:" + std::to_string(index);
}

}  // namespace styleclip
