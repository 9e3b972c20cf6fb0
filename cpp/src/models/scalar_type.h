// "float32", "float16", "bfloat16" and libtorch's names for them.
#pragma once

#include <c10/core/ScalarType.h>

#include <string>

namespace styleclip {

/// Throws Argument for any other name.
c10::ScalarType parse_dtype(const std::string& name);

/// How weights are stored: the same, or "source", every tensor in the float type it came in: Undefined.
c10::ScalarType parse_storage_dtype(const std::string& name);

const char* dtype_name(c10::ScalarType type) noexcept;

}  // namespace styleclip
