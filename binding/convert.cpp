#include "convert.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "environment.h"
#include "errors.h"
#include "styleclip/models.h"

namespace styleclip::binding {
namespace {

/// Largest integer that a JavaScript number holds exactly.
constexpr double kMaxSafeInteger = 9007199254740991.0;

struct ArrayType {
  napi_typedarray_type js;
  at::ScalarType type;
  const char* name;
};
constexpr ArrayType kArrayTypes[] = {
    {napi_float32_array, at::kFloat, "Float32Array"},  {napi_float64_array, at::kDouble, "Float64Array"},
    {napi_uint8_array, at::kByte, "Uint8Array"},       {napi_int32_array, at::kInt, "Int32Array"},
    {napi_bigint64_array, at::kLong, "BigInt64Array"}, {napi_uint16_array, at::kHalf, "Uint16Array"},
};

std::string names(const std::vector<at::ScalarType>& types) {
  std::string text;
  for (const ArrayType& known : kArrayTypes) {
    if (!types.empty() && std::find(types.begin(), types.end(), known.type) == types.end()) continue;
    text += (text.empty() ? "" : " or ") + std::string(known.name);
  }
  return text;
}

/// Copies a typed array's own window of its buffer.
HostArray copy_in(const Napi::Value& value, const ArrayRule& rule) {
  const auto wrong_type = [&] {
    refuse(ErrorCode::Argument, rule.name + " must be a " + names(rule.types), "Pass a typed array of that type.");
  };
  if (!value.IsTypedArray()) wrong_type();
  napi_typedarray_type js{};
  std::size_t length = 0;
  std::size_t offset = 0;
  napi_value buffer = nullptr;
  // Without asking for the data pointer: the buffer may be shared or detached, which is found out first.
  if (napi_get_typedarray_info(value.Env(), value, &js, &length, nullptr, &buffer, &offset) != napi_ok) wrong_type();
  const auto known = std::find_if(std::begin(kArrayTypes), std::end(kArrayTypes),
                                  [&](const ArrayType& candidate) { return candidate.js == js; });
  if (known == std::end(kArrayTypes)) wrong_type();
  if (!rule.types.empty() && std::find(rule.types.begin(), rule.types.end(), known->type) == rule.types.end()) {
    wrong_type();
  }
  if (!Napi::Value(value.Env(), buffer).IsArrayBuffer()) {
    refuse(ErrorCode::Argument, rule.name + " lies in a SharedArrayBuffer", "Pass a copy: array.slice().");
  }
  Napi::ArrayBuffer memory(value.Env(), buffer);
  if (memory.IsDetached()) {
    refuse(ErrorCode::Argument, rule.name + " was transferred to another thread", "Pass an array that you still own.");
  }
  HostArray array;
  array.type = known->type;
  array.length = static_cast<std::int64_t>(length);
  const std::size_t bytes = length * at::elementSize(known->type);
  array.bytes = std::make_unique_for_overwrite<std::byte[]>(bytes);
  if (bytes != 0) std::memcpy(array.bytes.get(), static_cast<const std::byte*>(memory.Data()) + offset, bytes);
  return array;
}

std::vector<std::int64_t> read_shape(const Napi::Value& value, const std::string& name) {
  const char* const remedy = "Pass an array of whole numbers, at most 16.";
  if (!value.IsArray()) refuse(ErrorCode::Argument, name + ".shape must be an array", remedy);
  const auto list = value.As<Napi::Array>();
  if (list.Length() > 16) refuse(ErrorCode::Shape, name + ".shape has too many dimensions", remedy);
  std::vector<std::int64_t> shape;
  for (std::uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Value item = list.Get(i);
    const double size = item.IsNumber() ? item.As<Napi::Number>().DoubleValue() : -1;
    if (!(size >= 0 && size <= kMaxSafeInteger) || size != std::floor(size)) {
      refuse(ErrorCode::Shape, name + ".shape[" + std::to_string(i) + "] must be a whole number, 0 or more", remedy);
    }
    shape.push_back(static_cast<std::int64_t>(size));
  }
  return shape;
}

std::string show(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}

/// Product of the dimensions; -1 when it is larger than any array.
std::int64_t elements(const std::vector<std::int64_t>& shape) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  std::int64_t product = 1;
  for (const std::int64_t size : shape) {
    if (__builtin_mul_overflow(product, size, &product)) return -1;
  }
  return product;
}

/// The tag of a Uint16Array's bits.
at::ScalarType read_half_type(const Napi::Object& tensor, const std::string& name) {
  const Napi::Value dtype = tensor.Get("dtype");
  if (dtype.IsUndefined()) return at::kHalf;
  const std::string word = read_text(dtype, name + ".dtype");
  if (word == "float16") return at::kHalf;
  if (word == "bfloat16") return at::kBFloat16;
  refuse(ErrorCode::Argument, name + ".dtype must be 'float16' or 'bfloat16'", "Say which bits the Uint16Array holds.");
}

template <class T>
Napi::TypedArrayOf<T> make_array(Napi::Env env, napi_typedarray_type type, std::size_t length, const void* data) {
  Napi::ArrayBuffer buffer = Environment::of(env).array_buffer(length * sizeof(T));
  if (length != 0) std::memcpy(buffer.Data(), data, length * sizeof(T));
  return Napi::TypedArrayOf<T>::New(env, length, buffer, 0, type);
}

}  // namespace

at::Tensor HostArray::view() const { return at::from_blob(bytes.get(), shape, at::TensorOptions().dtype(type)); }

HostArray read_tensor(const Napi::Value& value, const ArrayRule& rule) {
  if (!value.IsObject()) {
    refuse(ErrorCode::Argument, rule.name + " must be an object", "Pass { data, shape }.");
  }
  const auto object = value.As<Napi::Object>();
  std::vector<std::int64_t> shape = read_shape(object.Get("shape"), rule.name);
  HostArray array = copy_in(object.Get("data"), {rule.name + ".data", rule.types, rule.rank});
  if (array.type == at::kHalf) array.type = read_half_type(object, rule.name);
  if (elements(shape) != array.length) {
    refuse(ErrorCode::Shape,
           rule.name + " of shape " + show(shape) + " does not have " + std::to_string(array.length) + " elements",
           "The product of the shape must be the length of the data.");
  }
  if (rule.rank >= 0) {
    if (static_cast<int>(shape.size()) != rule.rank) {
      refuse(ErrorCode::Shape,
             rule.name + " must have " + std::to_string(rule.rank) + " dimensions, not shape " + show(shape),
             "Pass a batch, also for one.");
    }
    if (array.length == 0) refuse(ErrorCode::Shape, rule.name + " is empty", "Pass at least one.");
  }
  array.shape = std::move(shape);
  return array;
}

HostArray read_array(const Napi::Value& value, const ArrayRule& rule) {
  HostArray array = copy_in(value, rule);
  array.shape = {array.length};
  return array;
}

HostArray read_images(const Napi::Value& value) {
  HostArray images = read_tensor(value, {"images", {at::kByte, at::kFloat}, 4});
  const std::size_t channels = images.type == at::kByte ? 3 : 1;
  if (images.shape[channels] != 3) {
    refuse(ErrorCode::Shape, "images of shape " + show(images.shape) + " do not have three colours",
           "Pass uint8 [n, h, w, 3] or float32 [n, 3, h, w].");
  }
  return images;
}

at::Tensor float_images(const at::Tensor& images) {
  return images.scalar_type() == at::kByte ? from_uint8_nhwc(images) : images;
}

at::Tensor to_host(const at::Tensor& tensor) {
  at::Tensor host = tensor.detach().to(at::kCPU);
  switch (host.scalar_type()) {
    case at::kFloat:
    case at::kDouble:
    case at::kByte:
    case at::kInt:
    case at::kLong:
    case at::kHalf:
    case at::kBFloat16: break;
    case at::kBool: host = host.to(at::kByte); break;
    default:
      refuse(ErrorCode::Argument,
             std::string("a result of type ") + at::toString(host.scalar_type()) + " cannot be returned",
             "Use a method that returns float, integer or Boolean tensors.");
  }
  return host.contiguous();
}

Napi::TypedArray write_array(Napi::Env env, const at::Tensor& host) {
  const auto length = static_cast<std::size_t>(host.numel());
  const void* const data = host.const_data_ptr();
  const auto make = [&]() -> napi_value {
    switch (host.scalar_type()) {
      case at::kFloat: return make_array<float>(env, napi_float32_array, length, data);
      case at::kDouble: return make_array<double>(env, napi_float64_array, length, data);
      case at::kByte: return make_array<std::uint8_t>(env, napi_uint8_array, length, data);
      case at::kInt: return make_array<std::int32_t>(env, napi_int32_array, length, data);
      case at::kLong: return make_array<std::int64_t>(env, napi_bigint64_array, length, data);
      default: return make_array<std::uint16_t>(env, napi_uint16_array, length, data);
    }
  };
  return Napi::TypedArray(env, make());
}

Napi::Object write_tensor(Napi::Env env, const at::Tensor& host) {
  Napi::Object object = Napi::Object::New(env);
  object["data"] = write_array(env, host);
  Napi::Array shape = Napi::Array::New(env, static_cast<std::size_t>(host.dim()));
  for (std::int64_t i = 0; i < host.dim(); ++i)
    shape[static_cast<std::uint32_t>(i)] = static_cast<double>(host.size(i));
  object["shape"] = shape;
  if (host.scalar_type() == at::kHalf) object["dtype"] = "float16";
  if (host.scalar_type() == at::kBFloat16) object["dtype"] = "bfloat16";
  return object;
}

HostArrays read_tensors(const Napi::Value& value, const std::string& what, const std::vector<at::ScalarType>& types) {
  if (!value.IsObject()) refuse(ErrorCode::Argument, what + " must be an object", "Pass tensors by name.");
  const auto given = value.As<Napi::Object>();
  const Napi::Array names = given.GetPropertyNames();
  auto arrays = std::make_shared<std::map<std::string, HostArray>>();
  for (std::uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).ToString();
    arrays->emplace(name, read_tensor(given.Get(name), {std::string(what).append(".").append(name), types}));
  }
  return arrays;
}

std::map<std::string, at::Tensor> tensors_of(const HostArrays& arrays) {
  std::map<std::string, at::Tensor> all;
  for (const auto& [name, array] : *arrays) all[name] = array.view().clone();
  return all;
}

Napi::Object write_tensors(Napi::Env env, const std::map<std::string, at::Tensor>& host) {
  Napi::Object object = Napi::Object::New(env);
  for (const auto& [name, tensor] : host) object[name] = write_tensor(env, tensor);
  return object;
}

Napi::Float32Array write_floats(Napi::Env env, const float* data, std::size_t count) {
  return make_array<float>(env, napi_float32_array, count, data);
}

Napi::Int32Array write_indices(Napi::Env env, const std::int64_t* data, std::size_t count) {
  std::vector<std::int32_t> narrow(count);
  std::transform(data, data + count, narrow.begin(),
                 [](std::int64_t index) { return static_cast<std::int32_t>(index); });
  return make_array<std::int32_t>(env, napi_int32_array, count, narrow.data());
}

std::string read_text(const Napi::Value& value, const std::string& name) {
  if (!value.IsString()) refuse(ErrorCode::Argument, name + " must be a string", "Pass a string.");
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos) {
    refuse(ErrorCode::Argument, name + " holds a NUL character", "Pass a string without NUL characters.");
  }
  return text;
}

std::int64_t read_steps(const Napi::Value& value) {
  if (!value.IsNumber()) refuse(ErrorCode::Argument, "steps must be a number", "Pass a whole number.");
  const double steps = value.As<Napi::Number>().DoubleValue();
  constexpr double kMost = 1e9;
  if (!(steps >= 0 && steps <= kMost) || steps != std::floor(steps)) {
    refuse(ErrorCode::Range, "steps is no whole number from 0 to 1000000000", "Pass such a number.");
  }
  return static_cast<std::int64_t>(steps);
}

bool read_best(const Napi::Value& value) {
  if (!value.IsBoolean()) refuse(ErrorCode::Argument, "best must be true or false", "Pass a boolean.");
  return value.As<Napi::Boolean>().Value();
}

Options::Options(const Napi::Value& value, std::string name) : name_(std::move(name)) {
  if (!value.IsObject() || value.IsFunction()) {
    refuse(ErrorCode::Argument, name_ + " must be an object", "Pass an object with the documented properties.");
  }
  object_ = value.As<Napi::Object>();
}

void Options::refuse_type(const char* key, const char* expected) const {
  refuse(ErrorCode::Argument, path(key) + " must be " + expected, std::string("Pass ") + expected + ".");
}

void Options::refuse_word(const char* key, const std::string& found, const std::string& known) const {
  refuse(ErrorCode::Argument, path(key) + " is '" + found + "'", "Use one of " + known + ".");
}

Napi::Value Options::value(const char* key) const { return object_.Get(key); }

double Options::number(const char* key) const {
  const Napi::Value found = value(key);
  if (!found.IsNumber()) refuse_type(key, "a number");
  return found.As<Napi::Number>().DoubleValue();
}

std::int64_t Options::integer(const char* key, std::int64_t least, std::int64_t most) const {
  const double found = number(key);
  if (std::isnan(found) || found != std::floor(found) || std::abs(found) > kMaxSafeInteger) {
    refuse(ErrorCode::Range, path(key) + " must be a whole number", "Pass a whole number.");
  }
  const auto whole = static_cast<std::int64_t>(found);
  if (whole < least || whole > most) {
    refuse(ErrorCode::Range, path(key) + " is " + std::to_string(whole),
           "Pass a number from " + std::to_string(least) + " to " + std::to_string(most) + ".");
  }
  return whole;
}

std::string Options::text(const char* key) const { return read_text(value(key), path(key)); }

bool Options::boolean(const char* key) const {
  const Napi::Value found = value(key);
  if (!found.IsBoolean()) refuse_type(key, "true or false");
  return found.As<Napi::Boolean>().Value();
}

std::uint64_t Options::seed(const char* key) const {
  const Napi::Value found = value(key);
  if (!found.IsBigInt()) refuse_type(key, "a BigInt");
  bool lossless = false;
  const std::uint64_t seed = found.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) refuse(ErrorCode::Range, path(key) + " is out of range", "Pass a BigInt from 0n to 2n ** 64n - 1n.");
  return seed;
}

std::vector<std::string> Options::texts(const char* key) const {
  const Napi::Value found = value(key);
  if (!found.IsArray()) refuse_type(key, "an array of strings");
  const auto list = found.As<Napi::Array>();
  std::vector<std::string> texts;
  texts.reserve(list.Length());
  for (std::uint32_t i = 0; i < list.Length(); ++i) {
    texts.push_back(read_text(list.Get(i), path(key) + "[" + std::to_string(i) + "]"));
  }
  return texts;
}

}  // namespace styleclip::binding
