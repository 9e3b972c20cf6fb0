// Errors of the core, and the one place where libtorch's exceptions become ours. libtorch throws c10::Error (and its
// subclasses), torch::jit::ErrorReport (compiling TorchScript), torch::jit::JITException (an assert in a script), and
// plain std exceptions; a failed CPU allocation is a c10::Error that only its text tells apart.
#include "styleclip/error.h"

#include <c10/util/Exception.h>
#include <torch/csrc/jit/frontend/error_report.h>
#include <torch/csrc/jit/runtime/jit_exception.h>

#include <new>
#include <string_view>
#include <utility>

namespace styleclip {
namespace {

constexpr const char* kMemoryRemedy =
    "Use smaller batches, a lower precision or a smaller model, close models that are not needed, or free memory.";
constexpr const char* kBugRemedy = "This looks like a bug of styleclip; please report it with the cause below.";

bool says_out_of_memory(std::string_view text) {
  // The last two are names of statuses: CUBLAS_STATUS_ALLOC_FAILED,
  // CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED.
  for (std::string_view sign :
       {"can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED"}) {
    if (text.find(sign) != std::string_view::npos) return true;
  }
  return false;
}

// libtorch asks cuDNN for ways to convolve and tries one after the other, passing over those that run out of memory:
// what it says when none is left does not mention memory. A smaller batch may help.
bool says_no_engine(std::string_view text) {
  for (std::string_view sign : {"GET was unable to find an engine", "FIND was unable to find an engine",
                                "Unable to find a valid cuDNN algorithm"}) {
    if (text.find(sign) != std::string_view::npos) return true;
  }
  return false;
}

bool says_no_device(std::string_view text) {
  for (std::string_view sign : {"CUDA driver", "no CUDA-capable device", "CUDA error: invalid device",
                                "Torch not compiled with CUDA", "Cannot initialize CUDA"}) {
    if (text.find(sign) != std::string_view::npos) return true;
  }
  return false;
}

[[noreturn]] void raise_native(const std::string& doing, const std::string& text) {
  if (says_out_of_memory(text))
    throw Error(ErrorCode::OutOfMemory, "Out of memory: " + doing + ".", kMemoryRemedy, text);
  if (says_no_engine(text)) {
    throw Error(
        ErrorCode::OutOfMemory, "cuDNN finds no way to compute a convolution, as where memory is short: " + doing + ".",
        kMemoryRemedy + std::string(" Where that does not help, check that this GPU and its driver are supported."),
        text);
  }
  if (says_no_device(text)) {
    throw Error(ErrorCode::Device, "The device cannot be used: " + doing + ".",
                "Use device 'cpu', or check the driver with nvidia-smi.", text);
  }
  throw Error(ErrorCode::Internal, "libtorch failed: " + doing + ".", kBugRemedy, text);
}

}  // namespace

const char* code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::Argument: return "ERR_STYLECLIP_ARGUMENT";
    case ErrorCode::Shape: return "ERR_STYLECLIP_SHAPE";
    case ErrorCode::Range: return "ERR_STYLECLIP_RANGE";
    case ErrorCode::Platform: return "ERR_STYLECLIP_PLATFORM";
    case ErrorCode::AlreadyLoaded: return "ERR_STYLECLIP_ALREADY_LOADED";
    case ErrorCode::Trust: return "ERR_STYLECLIP_TRUST";
    case ErrorCode::FileNotFound: return "ERR_STYLECLIP_FILE_NOT_FOUND";
    case ErrorCode::FileDamaged: return "ERR_STYLECLIP_FILE_DAMAGED";
    case ErrorCode::FormatUnknown: return "ERR_STYLECLIP_FORMAT_UNKNOWN";
    case ErrorCode::FormatVersion: return "ERR_STYLECLIP_FORMAT_VERSION";
    case ErrorCode::ModelKind: return "ERR_STYLECLIP_MODEL_KIND";
    case ErrorCode::ModelMismatch: return "ERR_STYLECLIP_MODEL_MISMATCH";
    case ErrorCode::LibtorchNotFound: return "ERR_STYLECLIP_LIBTORCH_NOT_FOUND";
    case ErrorCode::LibtorchVersion: return "ERR_STYLECLIP_LIBTORCH_VERSION";
    case ErrorCode::AddonNotFound: return "ERR_STYLECLIP_ADDON_NOT_FOUND";
    case ErrorCode::Device: return "ERR_STYLECLIP_DEVICE";
    case ErrorCode::OutOfMemory: return "ERR_STYLECLIP_OUT_OF_MEMORY";
    case ErrorCode::Closed: return "ERR_STYLECLIP_CLOSED";
    case ErrorCode::EmptySelection: return "ERR_STYLECLIP_EMPTY_SELECTION";
    case ErrorCode::NotFinite: return "ERR_STYLECLIP_NOT_FINITE";
    case ErrorCode::ResumeMismatch: return "ERR_STYLECLIP_RESUME_MISMATCH";
    case ErrorCode::Disk: return "ERR_STYLECLIP_DISK";
    case ErrorCode::Internal: return "ERR_STYLECLIP_INTERNAL";
  }
  return "ERR_STYLECLIP_INTERNAL";
}

Error::Error(ErrorCode code, std::string message, std::string remedy, std::string cause)
    : code_(code), message_(std::move(message)), remedy_(std::move(remedy)), cause_(std::move(cause)) {}

void rethrow_translated(const std::string& doing) {
  try {
    throw;
  } catch (const Error&) {
    throw;
  } catch (const Aborted&) {
    throw;
  } catch (const c10::OutOfMemoryError& error) {
    throw Error(ErrorCode::OutOfMemory, "Out of memory: " + doing + ".", kMemoryRemedy, error.what_without_backtrace());
  } catch (const c10::Error& error) {
    raise_native(doing, error.what_without_backtrace());
  } catch (const torch::jit::ErrorReport& error) {
    throw Error(ErrorCode::FileDamaged, "TorchScript code does not compile: " + doing + ".",
                "The archive is damaged, or needs another version of libtorch.", error.what());
  } catch (const torch::jit::JITException& error) {
    raise_native(doing, error.what());
  } catch (const std::bad_alloc& error) {
    throw Error(ErrorCode::OutOfMemory, "Out of memory: " + doing + ".", kMemoryRemedy, error.what());
  } catch (const std::exception& error) {
    raise_native(doing, error.what());
  } catch (...) {
    throw Error(ErrorCode::Internal, "An unknown exception: " + doing + ".", kBugRemedy);
  }
}

}  // namespace styleclip
