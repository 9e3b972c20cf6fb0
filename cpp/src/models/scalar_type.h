// "float32", "float16", "bfloat16" and libtorch's names for them.
#pragma once

#include <c10/core/ScalarType.h>

#include <string>

namespace styleclip {

/// Throws Argument for any other name.
c10::ScalarType parse_dtype(const std::string& name);

}  // namespace styleclip
