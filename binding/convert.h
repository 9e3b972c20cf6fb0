// Values across the border. Arrays are copied in before a call returns (the caller may change or transfer its buffer at
// once) and results are owned copies. Everything is checked here: type, shape against length, views and their offsets,
// detached and shared buffers. Whether numbers are finite, and whether shapes fit a model, the core knows.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "setup.h"

namespace styleclip::binding {

/// A copy of a typed array with its shape. Plain memory: made on the JavaScript thread without libtorch.
struct HostArray {
  at::ScalarType type = at::kFloat;
  std::vector<std::int64_t> shape;
  std::unique_ptr<std::byte[]> bytes;
  std::int64_t length = 0;  // elements

  /// A tensor over this memory, valid as long as it is. Device thread.
  at::Tensor view() const;
  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(bytes.get());
  }
};

/// What an array argument must be. `rank` < 0: any. An empty list of types: any of the interface.
struct ArrayRule {
  std::string name;  // in messages
  std::vector<at::ScalarType> types;
  int rank = -1;
};

/// { data, shape } -> copy. Throws Argument or Shape.
HostArray read_tensor(const Napi::Value& value, const ArrayRule& rule);
using HostArrays = std::shared_ptr<const std::map<std::string, HostArray>>;
/// { name: { data, shape } } -> copies, of these types. `what` names the object in messages.
HostArrays read_tensors(const Napi::Value& value, const std::string& what, const std::vector<at::ScalarType>& types);
/// Of the core's own. Device thread.
std::map<std::string, at::Tensor> tensors_of(const HostArrays& arrays);
/// A bare typed array -> copy of rank 1.
HostArray read_array(const Napi::Value& value, const ArrayRule& rule);
/// Pictures: uint8 [n,h,w,3] or float32 [n,3,h,w].
HostArray read_images(const Napi::Value& value);
/// Such pictures as the core takes them: float32 [n,3,h,w] in [-1, 1]. Device thread.
at::Tensor float_images(const at::Tensor& images);

/// A tensor of any device and type, ready to be copied out: contiguous, on the CPU, of a type JavaScript has an array
/// for. Device thread.
at::Tensor to_host(const at::Tensor& tensor);
/// { data, shape } of a tensor made by to_host; float16 and bfloat16 also say `dtype`.
Napi::Object write_tensor(Napi::Env env, const at::Tensor& host);
/// { name: { data, shape } } of tensors made by to_host.
Napi::Object write_tensors(Napi::Env env, const std::map<std::string, at::Tensor>& host);
/// The data alone.
Napi::TypedArray write_array(Napi::Env env, const at::Tensor& host);
Napi::Float32Array write_floats(Napi::Env env, const float* data, std::size_t count);
Napi::Int32Array write_indices(Napi::Env env, const std::int64_t* data, std::size_t count);

/// The largest count that options hold: of steps, pictures, channels.
inline constexpr std::int64_t kMostInteger = std::numeric_limits<std::int32_t>::max();

/// Reads the properties of an options object; every message names the property.
class Options {
 public:
  Options(const Napi::Value& value, std::string name);

  double number(const char* key) const;
  std::int64_t integer(const char* key, std::int64_t least, std::int64_t most) const;
  std::string text(const char* key) const;
  bool boolean(const char* key) const;
  /// BigInt, 0 … 2^64 - 1.
  std::uint64_t seed(const char* key) const;
  std::vector<std::string> texts(const char* key) const;
  Napi::Value value(const char* key) const;
  std::string path(const char* key) const { return name_ + "." + key; }

  /// One of a few words.
  template <class T>
  T choice(const char* key, std::initializer_list<std::pair<std::string_view, T>> words) const {
    const std::string found = text(key);
    for (const auto& [word, meaning] : words) {
      if (word == found) return meaning;
    }
    std::string known;
    for (const auto& [word, meaning] : words) known += (known.empty() ? "'" : ", '") + std::string(word) + "'";
    refuse_word(key, found, known);
  }

 private:
  [[noreturn]] void refuse_type(const char* key, const char* expected) const;
  [[noreturn]] void refuse_word(const char* key, const std::string& found, const std::string& known) const;

  Napi::Object object_;
  std::string name_;
};

/// How many steps a run is to make, of an argument: a whole number, 0 to 10⁹.
std::int64_t read_steps(const Napi::Value& value);
/// Of an argument: the best, or the latest.
bool read_best(const Napi::Value& value);

/// A string argument without NUL characters (a path with one would be cut short).
std::string read_text(const Napi::Value& value, const std::string& name);

}  // namespace styleclip::binding
