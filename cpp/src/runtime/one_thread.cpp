#include "runtime/one_thread.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>

namespace styleclip {
namespace {

using SetLocal = int (*)(int);

// MKL's own switch for the calling thread, out of the libtorch that this process uses; null where that has no MKL.
SetLocal set_local() {
  static const SetLocal found = []() -> SetLocal {
    Dl_info info{};
    if (dladdr(reinterpret_cast<const void*>(&at::get_num_threads), &info) == 0) return nullptr;
    void* const library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (library == nullptr) return nullptr;
    return reinterpret_cast<SetLocal>(dlsym(library, "MKL_Set_Num_Threads_Local"));
  }();
  return found;
}

}  // namespace

OneThread::OneThread() {
  if (const SetLocal set = set_local()) before_ = set(1);
}

OneThread::~OneThread() {
  if (const SetLocal set = set_local()) set(before_);
}

}  // namespace styleclip
