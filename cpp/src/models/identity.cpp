// Identity embeddings: the crop of StyleCLIP's id_loss, or a plain resize, then the network.
#include <ATen/ops/adaptive_avg_pool2d.h>

#include <utility>

#include "models/model_impl.h"
#include "styleclip/ops.h"

namespace styleclip {

struct Identity::State {
  std::int64_t image_size = 0, embedding = 0;
  bool face_crop = false;
};

Identity::Identity(std::unique_ptr<Impl> impl, std::unique_ptr<State> state)
    : Model(std::move(impl)), state_(std::move(state)) {}
Identity::~Identity() = default;

std::shared_ptr<Identity> Identity::load(const std::string& path, const LoadOptions& options) {
  auto impl = std::make_unique<Impl>(load_module_file(path, options, "identity"));
  impl->need_methods({"embed"});
  auto state = std::make_unique<State>();
  state->image_size = impl->integer("image_size", {"image_size"}, 112);
  state->embedding = impl->integer("embedding", {"embed_dim"}, 512);
  state->face_crop = impl->text("preprocessing", "face-crop") == "face-crop";
  return std::shared_ptr<Identity>(new Identity(std::move(impl), std::move(state)));
}

std::int64_t Identity::image_size() const { return state_->image_size; }
std::int64_t Identity::embedding_dim() const { return state_->embedding; }

at::Tensor Identity::embed(const at::Tensor& images) {
  at::Tensor x = impl_->input(images, {3, -1, -1}, "images");
  const std::int64_t size = state_->image_size;
  if (state_->face_crop) return impl_->tensor("embed", {face_crop_resample(x, size)});
  if (x.size(2) != size || x.size(3) != size) x = at::adaptive_avg_pool2d(x, {size, size});
  return impl_->tensor("embed", {x});
}

}  // namespace styleclip
