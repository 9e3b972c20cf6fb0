// NumPy's names of element types: "<f4".
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string_view>

namespace styleclip::checkpoint {

struct NumpyType {
  c10::ScalarType type;
  bool big_endian = false;
};

/// Of "f4", "<f4", "|b1", ">i8"; none for what is no plain number (objects, text, records).
std::optional<NumpyType> numpy_type(std::string_view name);

}  // namespace styleclip::checkpoint
