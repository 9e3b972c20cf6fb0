#include "leaves.h"

#include <utility>

#include "convert.h"
#include "styleclip/error.h"

namespace styleclip::binding {
namespace {

using checkpoint::Value;
using Kind = Value::Kind;

// Far above any data file of the field: train_faces.pt has 24,000 latents of 36 KB, a dictionary of latents one a picture.
constexpr std::size_t kMostLeaves = 1'000'000;
constexpr std::size_t kMostDepth = 32;
constexpr std::int64_t kMostBytes = std::int64_t{4} << 30;

class Walk {
 public:
  Walk(const std::string& path, const RunContext& run) : path_(path), run_(run) {}

  void visit(const Value& value) {
    // Counted for every visit: shared values are met as often as they are named.
    if (++visits_ > kMostLeaves || way_.size() > kMostDepth) refuse("more values than a data file has");
    if (visits_ % 1024 == 0) run_.check();
    switch (value.kind()) {
      case Kind::Bool:
      case Kind::Int:
      case Kind::Float: add().number = value.number(), leaves_.back().is_number = true; break;
      case Kind::String: add().text = value.text(); break;
      case Kind::Tensor: add_tensor(value.tensor()); break;
      case Kind::List:
      case Kind::Tuple:
        for (std::size_t i = 0; i < value.items().size(); ++i) child(std::to_string(i), value.items()[i]);
        break;
      case Kind::Dict:
        for (const auto& [key, item] : value.entries()) child(name(key), item);
        break;
      default: break;
    }
  }
  std::vector<Leaf> take() { return std::move(leaves_); }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorCode::Range, path_ + " holds " + what + ".",
                "Give a file of latents or of StyleCLIP's data; models are imported with `styleclip import`.");
  }

  static std::string name(const Value& key) {
    if (key.is(Kind::String) || key.is(Kind::Bytes)) return key.text();
    return key.is(Kind::Int) ? std::to_string(key.integer()) : "?";
  }

  void child(std::string step, const Value& value) {
    way_.push_back(std::move(step));
    visit(value);
    way_.pop_back();
  }

  Leaf& add() {
    Leaf& leaf = leaves_.emplace_back();
    leaf.path = way_;
    return leaf;
  }

  void add_tensor(const at::Tensor& tensor) {
    if (tensor.is_complex()) return;
    const at::Tensor plain = with_array_type(tensor);
    // Before the copy: a tensor whose strides are 0 may be far larger than the file.
    bytes_ += tensor.numel() * static_cast<std::int64_t>(plain.element_size());
    if (bytes_ > kMostBytes) refuse("more than 4 GiB of numbers");
    add().tensor = to_host(plain);
  }

  // A type that JavaScript has an array for; a view's strides are kept, so that an expanded tensor stays small.
  at::Tensor with_array_type(const at::Tensor& tensor) const {
    if (tensor.numel() > kMostBytes) refuse("more than 4 GiB of numbers");
    switch (tensor.scalar_type()) {
      case at::kFloat:
      case at::kDouble:
      case at::kHalf:
      case at::kBFloat16:
      case at::kByte:
      case at::kInt:
      case at::kLong:
      case at::kBool: return tensor;
      case at::kChar:
      case at::kShort:
      case at::kUInt16: return tensor.to(at::kInt);
      case at::kUInt32:
      case at::kUInt64: return tensor.to(at::kDouble);
      default: return tensor.to(at::kFloat);  // float8
    }
  }

  const std::string& path_;
  const RunContext& run_;
  std::vector<std::string> way_;
  std::vector<Leaf> leaves_;
  std::size_t visits_ = 0;
  std::int64_t bytes_ = 0;
};

}  // namespace

std::vector<Leaf> leaves_of(const checkpoint::Checkpoint& file, const RunContext& run) {
  Walk walk(file.path(), run);
  walk.visit(file.root());
  return walk.take();
}

}  // namespace styleclip::binding
