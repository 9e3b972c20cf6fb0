// The mapper: latents to edited latents; see models.h.
#include <ATen/TensorOperators.h>
#include <cmath>
#include <utility>

#include "models/model_impl.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

constexpr double kStep = 0.1;  // SC:mapper/styleclip_mapper.py, w + 0.1 * M(w)

}  // namespace

struct Mapper::State {
  std::string space;
  std::int64_t rows = 0, width = 0;
};

Mapper::Mapper(std::unique_ptr<Impl> impl, std::unique_ptr<State> state)
    : Model(std::move(impl)), state_(std::move(state)) {}
Mapper::~Mapper() = default;

std::shared_ptr<Mapper> Mapper::load(const std::string& path, const LoadOptions& options) {
  auto impl = std::make_unique<Impl>(load_module_file(path, options, "mapper"));
  impl->need_methods({"delta"});
  auto state = std::make_unique<State>();
  state->space = impl->text("space", "w_plus");
  if (state->space == "s") {
    state->width = impl->integer("total", {"total"}, std::nullopt);
  } else if (state->space == "w_plus") {
    state->rows = impl->integer("rows", {"rows", "num_ws", "n_latent"}, std::nullopt);
    state->width = impl->integer("style_width", {"style_width", "w_dim"}, std::nullopt);
  } else {
    throw Error(ErrorCode::FileDamaged, path + " maps latents of an unknown space '" + state->space + "'.",
                "The spaces are 'w_plus' and 's'; make the archive again.");
  }
  return std::shared_ptr<Mapper>(new Mapper(std::move(impl), std::move(state)));
}

const std::string& Mapper::space() const { return state_->space; }
std::int64_t Mapper::rows() const { return state_->rows; }
std::int64_t Mapper::width() const { return state_->width; }

at::Tensor Mapper::delta(const at::Tensor& latents) {
  std::vector<std::int64_t> shape;
  if (state_->rows > 0) shape.push_back(state_->rows);
  shape.push_back(state_->width);
  const at::Tensor given = impl_->input(latents, shape, state_->space == "s" ? "S" : "w_plus");
  const at::Tensor delta = impl_->tensor("delta", {given});
  if (delta.sizes() != given.sizes()) {
    throw Error(ErrorCode::ModelMismatch,
                "'delta' of " + impl_->path + " gives shape " + shape_text(delta.sizes()) + " for " +
                    shape_text(given.sizes()) + ".",
                "It has to give the shape of its input.");
  }
  return delta;
}

at::Tensor Mapper::apply(const at::Tensor& latents, double strength) {
  if (!std::isfinite(strength)) {
    throw Error(ErrorCode::Range, "The strength is no finite number.", "1 is what the mapper was trained for.");
  }
  const at::Tensor change = delta(latents);
  return latents.to(change.options()) + kStep * strength * change;
}

}  // namespace styleclip
