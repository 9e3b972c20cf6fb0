// NumPy's rebuilders (numpy/_core/multiarray, numpy/_core/numeric.py): arrays and scalars of numbers. Arrays of other
// things stay objects.
#include <algorithm>
#include <cstring>

#include "checkpoint/numpy_type.h"
#include "checkpoint/pickle_globals.h"

namespace styleclip::checkpoint {
namespace {

/// The type a pickled numpy.dtype stands for; none unless it is plain numbers.
std::optional<NumpyType> type_of(const Value& dtype) {
  const ObjectParts* object = object_of(dtype);
  if (object == nullptr || dtype.class_name() != "numpy.dtype") return std::nullopt;
  const Items* arguments = held<Items>(object->arguments);
  if (arguments == nullptr || arguments->empty() || held<Text>((*arguments)[0]) == nullptr) return std::nullopt;
  auto type = numpy_type(bytes_of((*arguments)[0]).text());
  const Items* state = held<Items>(object->state);
  if (type && state != nullptr && state->size() > 1 && held<Text>((*state)[1]) != nullptr) {
    type->big_endian = bytes_of((*state)[1]).text() == ">";
  }
  return type;
}

std::shared_ptr<NumberStore> store_of(Reading& reading, const Slice& bytes, const NumpyType& type) {
  return reading.store(bytes, static_cast<unsigned>(c10::elementSize(type.type)),
                       type.big_endian ? swap_width(type.type) : 1);
}

void check_size(const Slice& bytes, const NumpyType& type, const std::vector<std::int64_t>& sizes) {
  const auto count = static_cast<std::uint64_t>(count_elements(sizes));
  if (bytes.size % c10::elementSize(type.type) != 0 || bytes.size / c10::elementSize(type.type) != count) {
    damaged("an array of " + std::to_string(count) + " numbers has " + std::to_string(bytes.size) + " bytes");
  }
}

/// multiarray.scalar(dtype, bytes)
std::optional<Value> scalar(Reading& reading, const Items& arguments) {
  if (arguments.size() != 2) damaged("a NumPy scalar lacks its type or value");
  const auto type = type_of(arguments[0]);
  if (!type || held<Text>(arguments[1]) == nullptr || c10::isComplexType(type->type)) return std::nullopt;
  const Slice bytes = bytes_of(arguments[1]);
  check_size(bytes, *type, {});
  std::uint8_t buffer[8] = {};
  std::memcpy(buffer, bytes.data, bytes.size);
  if (type->big_endian) std::reverse(buffer, buffer + bytes.size);
  const auto bits = load_number<std::uint64_t>(buffer);
  switch (type->type) {
    case at::kBool: return reading.boolean(bits != 0);
    case at::kByte:
    case at::kUInt16:
    case at::kUInt32: return reading.integer(static_cast<std::int64_t>(bits));
    case at::kUInt64:
      return bits >> 63 == 0 ? reading.integer(static_cast<std::int64_t>(bits))
                             : reading.number(static_cast<double>(bits));
    case at::kChar: return reading.integer(static_cast<std::int8_t>(bits));
    case at::kShort: return reading.integer(static_cast<std::int16_t>(bits));
    case at::kInt: return reading.integer(static_cast<std::int32_t>(bits));
    case at::kLong: return reading.integer(static_cast<std::int64_t>(bits));
    case at::kHalf:
      return reading.number(static_cast<float>(c10::Half(static_cast<std::uint16_t>(bits), c10::Half::from_bits())));
    case at::kFloat: return reading.number(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    case at::kDouble: return reading.number(std::bit_cast<double>(bits));
    default: return std::nullopt;
  }
}

/// numeric._frombuffer(buffer, dtype, shape, order[, axes]), of protocol 5. Order 'K': rows first, then the axes permuted.
std::optional<Value> from_buffer(Reading& reading, const Items& arguments) {
  if (arguments.size() < 4 || held<Text>(arguments[3]) == nullptr) damaged("an array lacks its type, shape or order");
  const auto type = type_of(arguments[1]);
  if (!type || held<Text>(arguments[0]) == nullptr) return std::nullopt;
  const Slice bytes = bytes_of(arguments[0]);
  std::vector<std::int64_t> sizes = integers_of(arguments[2]);
  check_size(bytes, *type, sizes);
  const std::string_view order = bytes_of(arguments[3]).text();
  std::vector<std::int64_t> strides = dense_strides(sizes, order == "F");
  if (order == "K" && arguments.size() > 4 && !arguments[4].is(Value::Kind::None)) {
    const std::vector<std::int64_t> axes = integers_of(arguments[4]);
    std::vector<std::int64_t> sorted = axes;
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t i = 0; i < sorted.size(); ++i) {
      if (sorted.size() != sizes.size() || sorted[i] != static_cast<std::int64_t>(i)) damaged("an array's axes");
    }
    const std::vector<std::int64_t> from_sizes = sizes, from_strides = strides;
    for (std::size_t i = 0; i < axes.size(); ++i) {
      sizes[i] = from_sizes[static_cast<std::size_t>(axes[i])];
      strides[i] = from_strides[static_cast<std::size_t>(axes[i])];
    }
  }
  return reading.tensor(store_of(reading, bytes, *type), type->type, 0, std::move(sizes), std::move(strides));
}

}  // namespace

bool build_array(Reading& reading, const Value& object, const Value& state) {
  // (version, shape, dtype, whether in Fortran's order, bytes); the version was once left out.
  const Items* all = held<Items>(state);
  if (all == nullptr || (all->size() != 4 && all->size() != 5) || !object.class_name().starts_with("numpy."))
    return false;
  const Value* part = all->data() + (all->size() - 4);
  const auto type = type_of(part[1]);
  if (!type || held<Items>(part[0]) == nullptr || held<Text>(part[3]) == nullptr) return false;
  const bool fortran = (part[2].is(Value::Kind::Bool) || part[2].is(Value::Kind::Int)) && part[2].integer() != 0;
  const Slice bytes = bytes_of(part[3]);
  std::vector<std::int64_t> sizes = integers_of(part[0]);
  check_size(bytes, *type, sizes);
  std::vector<std::int64_t> strides = dense_strides(sizes, fortran);
  auto tensor = std::make_unique<LazyTensor>(store_of(reading, bytes, *type), type->type, 0, std::move(sizes),
                                             std::move(strides));
  object.node()->kind = Value::Kind::Tensor;  // in place: the memo may hold it already
  object.node()->data = std::move(tensor);
  return true;
}

std::optional<Value> call_numpy(const CallSite& site, const std::string& name, const Items& arguments) {
  std::string_view known = name;
  for (const std::string_view package : {"numpy.core.", "numpy._core."}) {  // renamed in NumPy 2
    if (known.starts_with(package)) known.remove_prefix(package.size());
  }
  if (known == "multiarray.scalar") return scalar(site.reading, arguments);
  if (known == "numeric._frombuffer") return from_buffer(site.reading, arguments);
  if (known == "multiarray._reconstruct" && !arguments.empty() && held<Global>(arguments[0]) != nullptr) {
    site.reading.count_values(arguments.size());
    return site.reading.object(arguments[0], site.reading.items(Value::Kind::Tuple, arguments));
  }
  return std::nullopt;
}

}  // namespace styleclip::checkpoint
