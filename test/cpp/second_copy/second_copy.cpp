// A second copy of the operators in a library of its own, as a program has it that loads two versions of the package.
// The test opens it and asks it to register.
#include <string>

#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace {

std::string message;

}  // namespace

/// Registers this copy's operators: the error's code (ErrorCode as a number), or −1 when none was thrown, −2 when
/// something other than an Error was.
extern "C" __attribute__((visibility("default"))) int styleclip_second_copy_register() {
  try {
    styleclip::register_ops();
  } catch (const styleclip::Error& error) {
    message = error.what();
    return static_cast<int>(error.code());
  } catch (...) {
    return -2;
  }
  return -1;
}

/// The message of the last error.
extern "C" __attribute__((visibility("default"))) const char* styleclip_second_copy_message() {
  return message.c_str();
}
