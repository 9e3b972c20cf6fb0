// Names of the float types that models are stored and run in.
#include "models/scalar_type.h"

#include "styleclip/error.h"

namespace styleclip {

c10::ScalarType parse_dtype(const std::string& name) {
  if (name == "float32") return c10::kFloat;
  if (name == "float16") return c10::kHalf;
  if (name == "bfloat16") return c10::kBFloat16;
  throw Error(ErrorCode::Argument, "'" + name + "' is no dtype.", "Use 'float32', 'float16' or 'bfloat16'.");
}

c10::ScalarType parse_storage_dtype(const std::string& name) {
  return name == "source" ? c10::ScalarType::Undefined : parse_dtype(name);
}

const char* dtype_name(c10::ScalarType type) noexcept {
  return type == c10::kHalf ? "float16" : type == c10::kBFloat16 ? "bfloat16" : "float32";
}

}  // namespace styleclip
