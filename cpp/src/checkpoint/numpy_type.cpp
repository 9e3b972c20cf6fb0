// numpy.dtype.str: byte order, kind, bytes (NumPy reference, "The array interface protocol").
#include "checkpoint/numpy_type.h"

#include <unordered_map>

namespace styleclip::checkpoint {

std::optional<NumpyType> numpy_type(std::string_view name) {
  static const std::unordered_map<std::string_view, c10::ScalarType> types = {
      {"f2", c10::kHalf},   {"f4", c10::kFloat},        {"f8", c10::kDouble},        {"i1", c10::kChar},
      {"i2", c10::kShort},  {"i4", c10::kInt},          {"i8", c10::kLong},          {"u1", c10::kByte},
      {"u2", c10::kUInt16}, {"u4", c10::kUInt32},       {"u8", c10::kUInt64},        {"b1", c10::kBool},
      {"?", c10::kBool},    {"c8", c10::kComplexFloat}, {"c16", c10::kComplexDouble}};
  const bool big = name.starts_with('>');
  if (!name.empty() && std::string_view("<>|=").find(name.front()) != std::string_view::npos) name.remove_prefix(1);
  const auto found = types.find(name);
  if (found == types.end()) return std::nullopt;
  return NumpyType{found->second, big};
}

}  // namespace styleclip::checkpoint
