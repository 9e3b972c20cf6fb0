// styleclip_cuda.so on a machine with or without a GPU: it opens after libtorch_cpu, brings the CUDA implementations,
// may be closed and opened again, and what needs a device says clearly that there is none.
//
//     styleclip_plugin_test <styleclip_cuda.so>
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <dlfcn.h>

#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "checks.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"
#include "styleclip/runtime.h"

namespace {

using styleclip::Error;
using styleclip::ErrorCode;
using styleclip::checks::check;

constexpr char kOp[] = "accumulate_directions";

constexpr char kNamespace[] = "styleclip::";
constexpr char kOwner[] = "styleclip::_owner";  // says who registered the namespace, for every device
constexpr std::ptrdiff_t kOperators = 15;       // of today, backward ones included

/// Of the operators that libtorch's dispatcher has from us: those that have a CUDA implementation, or that have none.
std::vector<std::string> operators(bool with_cuda) {
  c10::Dispatcher& dispatcher = c10::Dispatcher::singleton();
  std::vector<std::string> names;
  for (const c10::OperatorName& op : dispatcher.getAllOpNames()) {
    if (op.name.rfind(kNamespace, 0) != 0 || op.name == kOwner) continue;
    const auto handle = dispatcher.findSchema(op);
    if (handle && handle->hasKernelForDispatchKey(c10::DispatchKey::CUDA) == with_cuda) names.push_back(op.name);
  }
  return names;
}

/// Every operator's kernels are there, none left to the reference.
bool all_have_cuda() { return operators(false).empty() && std::ssize(operators(true)) >= kOperators; }

template <typename Function>
void check_error(const Function& function, ErrorCode code, const std::string& part, const std::string& what) {
  try {
    function();
    check(false, what + ": nothing was thrown");
  } catch (const Error& error) {
    const std::string text = std::string(error.what()) + " / " + error.remedy();
    check(error.code() == code && text.find(part) != std::string::npos && !error.remedy().empty(), what + ": " + text);
  }
}

std::filesystem::path libtorch_directory() {
  Dl_info libtorch{};
  dladdr(reinterpret_cast<const void*>(&at::globalContext), &libtorch);
  return std::filesystem::canonical(libtorch.dli_fname).parent_path();
}

void check_opening(const std::string& path) {
  styleclip::register_ops();
  // The plug-in has no run path: what it needs is there before it, as load_cuda_library sees to with libtorch_cuda.
  check(dlopen((libtorch_directory() / "libc10_cuda.so").c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr,
        "libc10_cuda opens");
  check(operators(true).empty() && std::ssize(operators(false)) >= kOperators,
        "operators, and no CUDA implementation of one, before the library is open");
  for (int round = 0; round < 3; ++round) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    const char* reason = library == nullptr ? dlerror() : nullptr;
    check(library != nullptr, std::string("opens: ") + (reason != nullptr ? reason : ""));
    if (library == nullptr) return;
    check(all_have_cuda(), "every operator's CUDA implementation is there while the library is open");
    check(dlclose(library) == 0, "closes");
    check(all_have_cuda(), "closing does not unmap it");
  }
}

void check_cpu_still_works() {
  at::Tensor sum = at::zeros({1, 2}, at::kDouble);
  at::Tensor magnitude = at::zeros({1}, at::kDouble);
  at::Tensor count = at::zeros({1}, at::kLong);
  const at::Tensor plus = at::tensor({0.0f, 2.0f}).view({1, 1, 2});
  const at::Tensor minus = at::tensor({0.0f, -3.0f}).view({1, 1, 2});
  styleclip::accumulate_directions(plus, minus, sum, magnitude, count);
  check(sum[0][1].item<double>() == 1 && magnitude.item<double>() == 2 && count.item<std::int64_t>() == 1,
        "CPU tensors go to the CPU implementation");
  styleclip::force_implementation(kOp, "cuda");
  check_error([&] { styleclip::accumulate_directions(plus, minus, sum, magnitude, count); }, ErrorCode::Argument,
              "cuda", "the CUDA implementation forced on CPU tensors");
  styleclip::force_implementation(kOp, "");
}

void check_devices(const std::string& path) {
  // libtorch's CUDA half is not there in a build for CI; where it is, there may still be no device.
  if (!std::filesystem::exists(libtorch_directory() / "libtorch_cuda.so")) {
    check_error([&] { styleclip::load_cuda_library(path); }, ErrorCode::Device, "libtorch_cuda.so",
                "load_cuda_library without libtorch's CUDA half");
  }
  if (styleclip::available_devices().size() == 1) {
    check_error([] { styleclip::resolve_device("cuda"); }, ErrorCode::Device, "no CUDA device is usable",
                "device 'cuda' without a GPU");
    check(styleclip::resolve_device("auto") == "cpu", "device 'auto' without a GPU");
  }
}

}  // namespace

int main(int count, char** words) {
  if (count != 2) {
    std::fprintf(stderr, "Usage: styleclip_plugin_test <styleclip_cuda.so>\n");
    return 2;
  }
  try {
    check_opening(words[1]);
    check_cpu_still_works();
    check_devices(words[1]);
  } catch (const std::exception& error) {
    check(false, std::string("unexpected: ") + error.what());
  }
  return styleclip::checks::summary();
}
