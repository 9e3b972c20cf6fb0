// The errors of the core. Every failure that a caller can cause or meet is an Error with a stable code, a message and a
// remedy; an abort that the caller asked for is an Aborted, which is not an error. The core never prints and never ends
// the process.
#pragma once

#include <exception>
#include <string>

namespace styleclip {

enum class ErrorCode {
  Argument,          // a value of the wrong type or kind
  Shape,             // an array of the wrong shape
  Range,             // a number outside its range, NaN included
  Platform,          // this platform is not supported
  AlreadyLoaded,     // another copy of the package is in this process
  Trust,             // a foreign module's code would run
  FileNotFound,      // a file is missing or cannot be opened
  FileDamaged,       // a file is truncated or corrupt
  FormatUnknown,     // a file is of no known format
  FormatVersion,     // a file was written by a newer version
  ModelKind,         // an archive of another kind than asked for
  ModelMismatch,     // data that belong to another model
  LibtorchNotFound,  // no libtorch
  LibtorchVersion,   // libtorch of another version than the build's
  AddonNotFound,     // no native addon
  Device,            // a device that is not there or not usable
  OutOfMemory,       // memory ran out, host or device
  Closed,            // a model used after close()
  EmptySelection,    // no style channel passes the threshold
  NotFinite,         // NaN or infinity where numbers are needed
  ResumeMismatch,    // a directory that holds another run
  Disk,              // writing failed: full disk, limit, permission
  Internal           // a bug of ours; text of the native failure in cause()
};

/// "ERR_STYLECLIP_SHAPE" and so on.
const char* code_name(ErrorCode code) noexcept;

class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message, std::string remedy, std::string cause = "");
  const char* what() const noexcept override { return message_.c_str(); }
  ErrorCode code() const noexcept { return code_; }
  const std::string& remedy() const noexcept { return remedy_; }
  /// Text of the failure below (libtorch, the operating system); may be empty.
  const std::string& cause() const noexcept { return cause_; }

 private:
  ErrorCode code_;
  std::string message_, remedy_, cause_;
};

/// Thrown out of a long call after its CancelFlag was set.
class Aborted : public std::exception {
 public:
  const char* what() const noexcept override { return "aborted"; }
};

/// Turns the exception being handled into an Error: c10::Error, ErrorReport, JITException, OutOfMemoryError, bad_alloc,
/// std::exception. Call inside a catch block only. `doing` says what was tried ("load generator.pt"). Aborted and Error
/// pass through unchanged (re-thrown as they are).
[[noreturn]] void rethrow_translated(const std::string& doing);

}  // namespace styleclip
