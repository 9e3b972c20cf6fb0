// CLIP: preprocessing in C++, the two towers in the archive. OpenAI's own archives and other foreign modules with
// encode_image and encode_text work too; their sizes come from attributes (docs/models.md).
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <utility>

#include "models/build.h"
#include "models/model_impl.h"
#include "models/preprocess.h"
#include "models/scalar_type.h"
#include "styleclip/error.h"

namespace styleclip {

struct Clip::State {
  std::int64_t image_size = 0, embedding = 0, context = 0, vocabulary = 0;
  std::vector<double> mean, deviation;
};

Clip::Clip(std::unique_ptr<Impl> impl, std::unique_ptr<State> state)
    : Model(std::move(impl)), state_(std::move(state)) {}
Clip::~Clip() = default;

std::shared_ptr<Clip> Clip::load(const std::string& path, const LoadOptions& options) {
  auto impl = std::make_unique<Impl>(load_module_file(path, options, "clip"));
  impl->need_methods({"encode_image", "encode_text"});
  const c10::InferenceMode guard(false);
  auto state = std::make_unique<State>();
  state->image_size = impl->integer("image_size", {"image_size", "input_resolution"}, std::nullopt);
  state->context = impl->integer("context_length", {"context_length"}, 77);
  state->vocabulary = impl->integer("vocabulary", {"vocab_size"}, 49408);
  // openai/CLIP, clip.py `_transform`.
  state->mean = impl->numbers("mean", {0.48145466, 0.4578275, 0.40821073});
  state->deviation = impl->numbers("std", {0.26862954, 0.26130258, 0.27577711});
  std::optional<std::int64_t> embedding;
  if (impl->foreign()) {
    embedding = impl->tensor("encode_text", {at::zeros({1, state->context}, at::kLong).to(impl->place)}).size(-1);
  }
  state->embedding = impl->integer("embedding", {"embed_dim"}, embedding);
  return std::shared_ptr<Clip>(new Clip(std::move(impl), std::move(state)));
}

std::shared_ptr<Clip> Clip::converted(const std::string& dtype) const {
  const c10::InferenceMode guard(false);
  auto impl = std::make_unique<Impl>(*impl_);
  impl->dtype = dtype;
  impl->type = parse_dtype(dtype);
  try {
    impl->module = impl_->module.clone();
    convert_module(impl->module, impl->description.kind, impl->type, {});
  } catch (...) {
    rethrow_translated("convert " + impl_->path + " to " + dtype);
  }
  return std::shared_ptr<Clip>(new Clip(std::move(impl), std::make_unique<State>(*state_)));
}

std::int64_t Clip::image_size() const { return state_->image_size; }
std::int64_t Clip::embedding_dim() const { return state_->embedding; }
std::int64_t Clip::context_length() const { return state_->context; }
std::int64_t Clip::vocabulary_size() const { return state_->vocabulary; }

at::Tensor Clip::preprocess(const at::Tensor& images, Preprocess mode) const {
  const at::Tensor given = impl_->input(images, {3, -1, -1}, "images");
  const auto apply = mode == Preprocess::Float ? preprocess_float : preprocess_reference8;
  return apply(given, state_->image_size, state_->mean, state_->deviation);
}

at::Tensor Clip::encode_image(const at::Tensor& input) {
  return impl_->tensor("encode_image", {impl_->input(input, {3, state_->image_size, state_->image_size}, "input")});
}

at::Tensor Clip::encode_text(const at::Tensor& tokens) {
  const bool fits = tokens.defined() && tokens.dim() == 2 && tokens.size(0) > 0 && tokens.size(1) == state_->context;
  if (!fits || !at::isIntegralType(tokens.scalar_type(), false)) {
    throw Error(ErrorCode::Shape, "tokens have shape " + (tokens.defined() ? shape_text(tokens.sizes()) : "none") + ".",
                "Give whole numbers of shape [n, " + std::to_string(state_->context) + "], n at least 1.");
  }
  const at::Tensor ids = tokens.to(at::kLong);
  if (ids.min().item<std::int64_t>() < 0 || ids.max().item<std::int64_t>() >= state_->vocabulary) {
    throw Error(ErrorCode::Range, "A token id is outside 0 to " + std::to_string(state_->vocabulary - 1) + ".",
                "Use the tokenizer that belongs to this model.");
  }
  return impl_->tensor("encode_text", {ids.to(impl_->place)});
}

}  // namespace styleclip
