// The encoder: pictures to W+. Pictures of another size are pooled to the encoder's, as e4e's training does.
#include <ATen/ops/adaptive_avg_pool2d.h>

#include <utility>

#include "models/model_impl.h"
#include "styleclip/error.h"

namespace styleclip {

struct Encoder::State {
  std::int64_t image_size = 0, image_height = 0;
};

Encoder::Encoder(std::unique_ptr<Impl> impl, std::unique_ptr<State> state)
    : Model(std::move(impl)), state_(std::move(state)) {}
Encoder::~Encoder() = default;

std::shared_ptr<Encoder> Encoder::load(const std::string& path, const LoadOptions& options) {
  auto impl = std::make_unique<Impl>(load_module_file(path, options, "encoder"));
  impl->need_methods({"encode"});
  auto state = std::make_unique<State>();
  state->image_size = impl->integer("image_size", {"image_size"}, 256);
  state->image_height = impl->integer("image_height", {"image_height"}, state->image_size);
  return std::shared_ptr<Encoder>(new Encoder(std::move(impl), std::move(state)));
}

std::int64_t Encoder::image_size() const { return state_->image_size; }
std::int64_t Encoder::image_height() const { return state_->image_height; }

at::Tensor Encoder::encode(const at::Tensor& images) {
  at::Tensor x = impl_->input(images, {3, -1, -1}, "images");
  const std::int64_t height = state_->image_height, width = state_->image_size;
  if (x.size(2) != height || x.size(3) != width) x = at::adaptive_avg_pool2d(x, {height, width});
  const at::Tensor w_plus = impl_->tensor("encode", {x});
  if (w_plus.dim() != 3) {
    throw Error(ErrorCode::ModelMismatch,
                "'encode' of " + impl_->path + " gives shape " + shape_text(w_plus.sizes()) + ".",
                "It has to give [n, rows, style width].");
  }
  return w_plus;
}

}  // namespace styleclip
