// Weights: checked or drawn; see tensors.h.
#include "models/tensors.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <vector>

#include "runtime/philox.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

// FNV-1a: a tensor's numbers depend on its name, not on its place in a list.
std::uint64_t hash(std::string_view text) {
  std::uint64_t value = 14695981039346656037ULL;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return value;
}

at::Tensor blur_kernel(double gain) {
  static constexpr float kTaps[] = {1, 3, 3, 1};  // arXiv 1912.04958: [1,3,3,1], normalised to sum 1
  at::Tensor kernel = at::empty({4, 4});
  float* out = kernel.data_ptr<float>();
  for (int y = 0; y < 4; ++y) {
    for (int x = 0; x < 4; ++x) out[4 * y + x] = static_cast<float>(kTaps[y] * kTaps[x] / 64 * gain);
  }
  return kernel;
}

at::Tensor draw(const TensorSpec& spec, std::uint64_t seed) {
  if (spec.integer) return at::full(spec.shape, static_cast<std::int64_t>(spec.scale), at::kLong);
  if (spec.init == TensorSpec::Init::Constant) return at::full(spec.shape, spec.scale, at::kFloat);
  if (spec.init == TensorSpec::Init::Blur) return blur_kernel(spec.scale);
  at::Tensor tensor = at::empty(spec.shape, at::kFloat);
  const auto stream = static_cast<std::uint32_t>(PhiloxStream::Weights);
  if (spec.init == TensorSpec::Init::Normal) {
    philox_normal(tensor.data_ptr<float>(), tensor.numel(), seed, stream, hash(spec.name));
    return tensor.mul_(spec.scale);
  }
  philox_uniform(tensor.data_ptr<float>(), tensor.numel(), seed, stream, hash(spec.name));
  return tensor.sub_(0.5).mul_(2 * spec.scale);
}

[[noreturn]] void mismatch(const std::string& message) {
  throw Error(ErrorCode::ModelMismatch, message,
              "Give the configuration these weights were trained with (docs/models.md lists names and shapes).");
}

void check_names(const Blueprint& blueprint, const TensorMap& weights) {
  std::set<std::string> known(blueprint.ignored.begin(), blueprint.ignored.end());
  std::vector<std::string> missing;
  for (const TensorSpec& spec : blueprint.tensors) {
    known.insert(spec.name);
    if (!spec.optional && !weights.contains(spec.name)) missing.push_back(spec.name);
  }
  std::vector<std::string> unexpected;
  for (const auto& [name, tensor] : weights) {
    if (!known.contains(name)) unexpected.push_back(name);
  }
  if (missing.empty() && unexpected.empty()) return;
  std::string text = "The weights are not those of this " + blueprint.architecture + " configuration:";
  if (!unexpected.empty()) {
    text += " unexpected '" + unexpected[0] + "'";
    if (unexpected.size() > 1) text += " and " + std::to_string(unexpected.size() - 1) + " more";
  }
  if (!missing.empty()) {
    text += std::string(unexpected.empty() ? "" : ";") + " missing";
    for (std::size_t i = 0; i < std::min<std::size_t>(missing.size(), 5); ++i) text += " '" + missing[i] + "'";
    if (missing.size() > 5) text += " and " + std::to_string(missing.size() - 5) + " more";
  }
  mismatch(text + ".");
}

// Whether no element has all exponent bits set: the test that IEEE floats of any width share.
template <class Bits>
bool finite_bits(const void* data, std::int64_t count, Bits exponent) {
  const auto* at = static_cast<const Bits*>(data);
  std::uint32_t bad = 0;
  for (std::int64_t i = 0; i < count; ++i) bad |= static_cast<std::uint32_t>((at[i] & exponent) == exponent);
  return bad == 0;
}

// A contiguous float32, float16 or bfloat16 tensor.
bool is_finite(const at::Tensor& tensor) {
  const void* data = tensor.const_data_ptr();
  switch (tensor.scalar_type()) {
    case at::kHalf: return finite_bits<std::uint16_t>(data, tensor.numel(), 0x7c00);
    case at::kBFloat16: return finite_bits<std::uint16_t>(data, tensor.numel(), 0x7f80);
    default: return finite_bits<std::uint32_t>(data, tensor.numel(), 0x7f800000);
  }
}

// A contiguous tensor alone in its storage: an archive holds whole storages, and a checkpoint's may be shared.
at::Tensor alone(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return at::empty(tensor.sizes(), tensor.options());
  void* data = const_cast<void*>(tensor.const_data_ptr());  // from_blob's signature; nothing writes to it
  return at::from_blob(data, tensor.sizes(), [tensor](void*) {}, tensor.options());
}

// Bytes from the first element to the end of the last one.
std::size_t extent(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return 0;
  std::int64_t last = 0;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
  return static_cast<std::size_t>(last + 1) * tensor.element_size();
}

at::Tensor take(const TensorSpec& spec, at::Tensor given, at::ScalarType wanted, const Release& release) {
  // The latent average comes as [rows, d], [1, d] or [d] (reference notes H.5).
  const bool average = spec.name == "latent_avg" && given.dim() > 0 && given.size(-1) == spec.shape.back();
  if (average && given.numel() == spec.shape.back()) given = given.reshape({given.numel()}).expand(spec.shape);
  if (given.sizes() != at::IntArrayRef(spec.shape)) {
    mismatch("'" + spec.name + "' has shape " + shape_text(given.sizes()) + ", not " + shape_text(spec.shape) + ".");
  }
  if (!spec.integer && !given.is_floating_point()) {
    mismatch("'" + spec.name + "' holds " + std::string(c10::toString(given.scalar_type())) + ", not a float type.");
  }
  const bool as_it_is = given.scalar_type() == wanted && given.is_contiguous() &&
                        reinterpret_cast<std::uintptr_t>(given.const_data_ptr()) % given.element_size() == 0;
  const at::Tensor tensor = as_it_is ? alone(given) : at::empty(spec.shape, wanted).copy_(given);
  if (!spec.integer && !is_finite(tensor)) {
    const bool narrowed = !as_it_is && is_finite(given.to(at::kFloat).contiguous());
    throw Error(ErrorCode::NotFinite,
                "'" + spec.name + "' holds " +
                    (narrowed ? "numbers too large for " + std::string(c10::toString(wanted)) : "NaN or infinity") +
                    ".",
                narrowed ? "Store the weights as float32 or bfloat16."
                         : "The training diverged or the file is damaged: use another checkpoint.");
  }
  if (release) release(given.const_data_ptr(), extent(given));
  return tensor;
}

// `own` is the type that the weights came in.
at::ScalarType stored_type(const Blueprint& blueprint, const TensorSpec& spec, at::ScalarType dtype,
                           at::ScalarType own = at::kFloat) {
  if (spec.integer) return at::kLong;
  if (stays_float32(blueprint.kind, spec.name)) return at::kFloat;
  if (dtype != at::ScalarType::Undefined) return dtype;
  return own == at::kHalf || own == at::kBFloat16 ? own : at::kFloat;
}

}  // namespace

at::Tensor every_label(std::int64_t count, std::int64_t width, std::int64_t first) {
  return at::eye(width).index_select(0, at::arange(first, first + count).remainder(width));
}

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

TensorMap take_weights(const Blueprint& blueprint, const TensorMap& weights, std::uint64_t seed, const RunContext& run,
                       at::ScalarType dtype, const Release& release) {
  check_names(blueprint, weights);
  TensorMap tensors;
  ProgressMeter meter(run, "weights", static_cast<std::int64_t>(blueprint.tensors.size()), "tensors");
  for (const TensorSpec& spec : blueprint.tensors) {
    const auto found = weights.find(spec.name);
    if (found == weights.end()) {
      tensors[spec.name] = draw(spec, seed).to(stored_type(blueprint, spec, dtype));
    } else {
      const at::Tensor given = found->second.detach().cpu();
      tensors[spec.name] = take(spec, given, stored_type(blueprint, spec, dtype, given.scalar_type()), release);
    }
    meter.step(1);
  }
  return tensors;
}

TensorMap draw_weights(const Blueprint& blueprint, std::uint64_t seed, at::ScalarType dtype, const RunContext& run) {
  TensorMap tensors;
  ProgressMeter meter(run, "weights", static_cast<std::int64_t>(blueprint.tensors.size()), "tensors");
  for (const TensorSpec& spec : blueprint.tensors) {
    tensors[spec.name] = draw(spec, seed).to(stored_type(blueprint, spec, dtype));
    meter.step(1);
  }
  return tensors;
}

}  // namespace styleclip
