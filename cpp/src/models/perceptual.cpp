// A foreign module that compares pictures; see models.h.
#include <ATen/TensorOperators.h>
#include <ATen/ops/adaptive_avg_pool2d.h>

#include <algorithm>
#include <utility>

#include "models/model_impl.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

constexpr std::int64_t kLargest = 256;  // stylegan2-ada-pytorch, projector.py

}  // namespace

struct Perceptual::State {
  bool two = false;
  bool bytes = false;  // takes 0..255, and flags after the picture
};

Perceptual::Perceptual(std::unique_ptr<Impl> impl, std::unique_ptr<State> state)
    : Model(std::move(impl)), state_(std::move(state)) {}
Perceptual::~Perceptual() = default;

std::shared_ptr<Perceptual> Perceptual::load(const std::string& path, const LoadOptions& options) {
  auto impl = std::make_unique<Impl>(load_module_file(path, options, "module"));
  impl->need_methods({"forward"});
  auto state = std::make_unique<State>();
  const auto& arguments = impl->module.get_method("forward").function().getSchema().arguments();
  std::int64_t needed = 0;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    state->bytes = state->bytes || arguments[i].name() == "return_lpips";
    if (!arguments[i].default_value() && arguments[i].type()->kind() == c10::TypeKind::TensorType) ++needed;
  }
  state->two = !state->bytes && needed == 2;
  if (needed < 1 || needed > 2) {
    throw Error(ErrorCode::ModelMismatch, path + ": 'forward' takes " + std::to_string(needed) + " pictures.",
                "Give a module that takes one picture and gives features, or two and gives their distance.");
  }
  return std::shared_ptr<Perceptual>(new Perceptual(std::move(impl), std::move(state)));
}

bool Perceptual::takes_two() const { return state_->two; }

at::Tensor Perceptual::features(const at::Tensor& images) {
  at::Tensor x = impl_->input(images, {3, -1, -1}, "images");
  if (x.size(2) > kLargest || x.size(3) > kLargest) {
    x = at::adaptive_avg_pool2d(x, {std::min(x.size(2), kLargest), std::min(x.size(3), kLargest)});
  }
  if (state_->two) return x;
  std::vector<c10::IValue> inputs = {state_->bytes ? (x + 1) * 127.5 : x};
  if (state_->bytes) inputs.insert(inputs.end(), {c10::IValue(false), c10::IValue(true)});
  return impl_->tensor("forward", std::move(inputs)).flatten(1);
}

at::Tensor Perceptual::distance(const at::Tensor& images, const at::Tensor& target) {
  const at::Tensor own = features(images);
  if (!state_->two) return (own - target).square().sum(1);
  const at::Tensor distance = impl_->tensor("forward", {own, target});
  if (distance.numel() != images.size(0)) {
    throw Error(ErrorCode::ModelMismatch,
                impl_->path + " gives " + std::to_string(distance.numel()) + " numbers for " +
                    std::to_string(images.size(0)) + " pairs of pictures.",
                "It has to give one distance for each pair.");
  }
  return distance.reshape({images.size(0)});
}

}  // namespace styleclip
