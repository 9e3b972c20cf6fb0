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

}  // namespace styleclip
