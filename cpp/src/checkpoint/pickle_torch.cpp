// torch's rebuilders (torch/_utils.py, torch/storage.py, torch/serialization.py of PyTorch): the few calls from which a
// saved tensor is made, as data.
#include <unordered_map>

#include "checkpoint/containers.h"
#include "checkpoint/pickle_globals.h"

namespace styleclip::checkpoint {
namespace {

constexpr unsigned kMostNesting = 4;  // streams inside byte strings inside streams

const std::unordered_map<std::string_view, at::ScalarType> kStorages = {{"DoubleStorage", at::kDouble},
                                                                        {"FloatStorage", at::kFloat},
                                                                        {"HalfStorage", at::kHalf},
                                                                        {"BFloat16Storage", at::kBFloat16},
                                                                        {"LongStorage", at::kLong},
                                                                        {"IntStorage", at::kInt},
                                                                        {"ShortStorage", at::kShort},
                                                                        {"CharStorage", at::kChar},
                                                                        {"ByteStorage", at::kByte},
                                                                        {"BoolStorage", at::kBool},
                                                                        {"ComplexFloatStorage", at::kComplexFloat},
                                                                        {"ComplexDoubleStorage", at::kComplexDouble}};

const std::unordered_map<std::string_view, at::ScalarType> kTypes = {{"torch.float64", at::kDouble},
                                                                     {"torch.float32", at::kFloat},
                                                                     {"torch.float16", at::kHalf},
                                                                     {"torch.bfloat16", at::kBFloat16},
                                                                     {"torch.int64", at::kLong},
                                                                     {"torch.int32", at::kInt},
                                                                     {"torch.int16", at::kShort},
                                                                     {"torch.int8", at::kChar},
                                                                     {"torch.uint8", at::kByte},
                                                                     {"torch.uint16", at::kUInt16},
                                                                     {"torch.uint32", at::kUInt32},
                                                                     {"torch.uint64", at::kUInt64},
                                                                     {"torch.bool", at::kBool},
                                                                     {"torch.complex64", at::kComplexFloat},
                                                                     {"torch.complex128", at::kComplexDouble},
                                                                     {"torch.float8_e4m3fn", at::kFloat8_e4m3fn},
                                                                     {"torch.float8_e5m2", at::kFloat8_e5m2},
                                                                     {"torch.float8_e4m3fnuz", at::kFloat8_e4m3fnuz},
                                                                     {"torch.float8_e5m2fnuz", at::kFloat8_e5m2fnuz},
                                                                     {"torch.float8_e8m0fnu", at::kFloat8_e8m0fnu}};

// Tensors that are more than numbers in a grid.
const std::unordered_map<std::string_view, const char*> kRefused = {
    {"torch._utils._rebuild_qtensor", "a quantized tensor"},
    {"torch._utils._rebuild_sparse_tensor", "a sparse tensor"},
    {"torch._utils._rebuild_sparse_csr_tensor", "a sparse tensor"},
    {"torch._utils._rebuild_nested_tensor", "a nested tensor"},
    {"torch._utils._rebuild_meta_tensor_no_storage", "a tensor without data (of the device 'meta')"},
    {"torch._utils._rebuild_wrapper_subclass", "a tensor wrapped by another class"}};

/// (storage, offset, sizes, strides, …); `type` overrides the storage's own.
Value rebuild(Reading& reading, const Items& arguments, std::optional<at::ScalarType> type) {
  if (arguments.size() < 4 || !arguments[1].is(Value::Kind::Int))
    damaged("a tensor lacks its offset, sizes or strides");
  const StoragePart* part = storage_of(arguments[0]);
  if (part == nullptr) damaged(std::string("a tensor has ") + kind_name(arguments[0].kind()) + " for a storage");
  const std::int64_t offset = arguments[1].integer();
  const at::ScalarType scalar = type ? *type : part->scalar ? *part->scalar : at::kByte;
  std::int64_t start = part->offset;  // elements of the storage's own type
  if (part->scalar != type && type) {
    const auto from = static_cast<std::int64_t>(part->scalar ? c10::elementSize(*part->scalar) : 1);
    const auto to = static_cast<std::int64_t>(c10::elementSize(scalar));
    if (start * from % to != 0) damaged("a tensor starts inside an element");
    start = start * from / to;
  }
  if (part->big_endian && !part->scalar && c10::elementSize(scalar) > 1) {
    unknown("an untyped storage was written by a big-endian machine");
  }
  if (offset < 0 || offset > INT64_MAX / 2 - start) damaged("a tensor's offset is impossible");
  return reading.tensor(part->store, scalar, start + offset, integers_of(arguments[2]), integers_of(arguments[3]));
}

/// torch.storage._load_from_bytes: a legacy stream inside a byte string.
Value load_from_bytes(const CallSite& site, const Items& arguments) {
  if (site.nesting >= kMostNesting)
    unknown("streams lie inside byte strings " + std::to_string(kMostNesting) + " deep");
  if (arguments.size() != 1) damaged("a storage's bytes are missing");
  const Slice bytes = bytes_of(arguments[0]);
  const std::string where = site.where.empty() ? "a stream inside it" : site.where + ", a stream inside it";
  return read_torch_legacy(site.reading, bytes, where, site.nesting + 1);
}

bool first_is_tensor(const Items& arguments) { return !arguments.empty() && arguments[0].is(Value::Kind::Tensor); }

}  // namespace

std::optional<at::ScalarType> storage_type(const std::string& name) {
  const std::string_view last = std::string_view(name).substr(name.rfind('.') + 1);
  if (!name.starts_with("torch.")) unknown("a storage is of the unknown class " + name);
  if (last == "UntypedStorage" || last == "_UntypedStorage") return std::nullopt;
  const auto found = kStorages.find(last);
  if (found == kStorages.end()) unknown("a storage is of the class " + name + ", which holds no plain numbers");
  return found->second;
}

std::optional<Value> call_torch(const CallSite& site, const std::string& name, const Items& arguments) {
  Reading& reading = site.reading;
  if (const auto refused = kRefused.find(name); refused != kRefused.end()) {
    unknown(std::string("it holds ") + refused->second + " (" + name + ")");
  }
  if (name == "torch._utils._rebuild_tensor_v2" || name == "torch._utils._rebuild_tensor") {
    return rebuild(reading, arguments, std::nullopt);
  }
  if (name == "torch._utils._rebuild_tensor_v3") {
    const auto type = arguments.size() > 6 && arguments[6].is(Value::Kind::Object)
                          ? kTypes.find(arguments[6].class_name())
                          : kTypes.end();
    if (type == kTypes.end()) unknown("a tensor has a type that holds no plain numbers");
    return rebuild(reading, arguments, type->second);
  }
  if (name == "torch._tensor._rebuild_from_type_v2" || name == "torch.tensor._rebuild_from_type" ||
      name == "torch._tensor._rebuild_from_type") {  // (function, class, arguments, state)
    if (arguments.size() < 3 || held<Global>(arguments[0]) == nullptr || !arguments[2].is(Value::Kind::Tuple)) {
      damaged("a tensor's class lacks its arguments");
    }
    const std::string& inner = arguments[0].class_name();
    if (!inner.starts_with("torch._utils._rebuild_")) unknown("it makes a tensor by " + inner);
    return call_global(site, arguments[0], arguments[2]);
  }
  if (name == "torch.storage._load_from_bytes") return load_from_bytes(site, arguments);
  if (name == "torch.Size") {
    if (arguments.size() != 1 || held<Items>(arguments[0]) == nullptr) damaged("a torch.Size lacks its sizes");
    return arguments[0];
  }
  // A parameter is its tensor; what torch.jit wraps lists in says their type only.
  const bool wrapper =
      name == "torch._utils._rebuild_parameter" || name == "torch._utils._rebuild_parameter_with_state" ||
      name == "torch.nn.parameter.Parameter" || name == "torch.nn.parameter.Buffer" ||
      name == "torch._utils._rebuild_device_tensor_from_numpy" || name == "torch._utils._rebuild_xla_tensor" ||
      name == "torch._utils._rebuild_device_tensor_from_cpu_tensor";
  if (wrapper && first_is_tensor(arguments)) return arguments[0];
  if (name.starts_with("torch.jit._pickle.") && !arguments.empty() &&
      (name.find(".build_") != std::string::npos || name.ends_with(".restore_type_tag")) && held<Items>(arguments[0])) {
    return arguments[0];
  }
  return std::nullopt;
}

}  // namespace styleclip::checkpoint
