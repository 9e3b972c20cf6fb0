// Text, pictures and latents through a network: CLIP, the identity network, the inversion encoder, the mapper.
#include <ATen/ops/cat.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "batches.h"
#include "convert.h"
#include "environment.h"
#include "errors.h"
#include "exports.h"
#include "groups.h"
#include "model.h"
#include "pictures.h"
#include "styleclip/editing.h"

namespace styleclip::binding {
namespace {

Napi::Value write_result(Napi::Env env, at::Tensor&& host) { return write_tensor(env, host); }

HostArray read_tokens(const Napi::Value& value, const char* name) { return read_tensor(value, {name, {at::kInt}, 2}); }

at::Tensor token_tensor(const HostArray& tokens) { return tokens.view().to(at::kLong); }

Napi::Value encode_text(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "clip");
  HostArray tokens = read_tokens(info[1], "tokens");
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[2], "encode text",
          [model = std::move(model), tokens = std::move(tokens)](const RunContext& run) {
            return mapped_in_batches(
                run, "encode-text", token_tensor(tokens), kVectorBatch, "texts",
                [&](const at::Tensor& part) { return to_host(model->get<Clip>().encode_text(part)); });
          },
          write_result);
}

Napi::Value encode_image(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "clip");
  HostArray images = read_images(info[1]);
  const Options options(info[2], "options");
  const Preprocess mode = read_preprocess(options);
  const std::int64_t asked = options.integer("batch", 0, kMostInteger);
  const std::int64_t batch = asked == 0 ? kPictureBatch : asked;
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[3], "encode pictures",
          [=, model = std::move(model), images = std::move(images)](const RunContext& run) {
            auto& clip = model->get<Clip>();
            return mapped_in_batches(run, "encode-image", images.view(), batch, "images", [&](const at::Tensor& part) {
              return to_host(clip.encode_image(clip.preprocess(float_images(part), mode)));
            });
          },
          write_result);
}

/// embed and encode: pictures through one function of a model.
template <class Network, at::Tensor (Network::*function)(const at::Tensor&)>
Napi::Value forward(const Napi::CallbackInfo& info, const char* kind, const char* phase) {
  auto model = ModelObject::open(info[0], kind);
  HostArray images = read_images(info[1]);
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[2], phase,
          [model = std::move(model), images = std::move(images), phase](const RunContext& run) {
            return mapped_in_batches(run, phase, images.view(), kPictureBatch, "images", [&](const at::Tensor& part) {
              return to_host((model->get<Network>().*function)(float_images(part)));
            });
          },
          write_result);
}

Napi::Value embed(const Napi::CallbackInfo& info) {
  return forward<Identity, &Identity::embed>(info, "identity", "embed");
}
Napi::Value encode(const Napi::CallbackInfo& info) {
  return forward<Encoder, &Encoder::encode>(info, "encoder", "encode");
}

/// Distances of two batches of pictures by a module that compares.
Napi::Value perceptual_distance(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "perceptual");
  auto first = std::make_shared<HostArray>(read_images(info[1]));
  auto second = std::make_shared<HostArray>(read_images(info[2]));
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[3], "compare pictures",
          [model = std::move(model), first, second](const RunContext& run) {
            auto& network = model->get<Perceptual>();
            const at::Tensor a = float_images(first->view()), b = float_images(second->view());
            if (a.sizes() != b.sizes()) {
              throw Error(ErrorCode::Shape, "The pictures to compare differ in number or size.", "Resize them first.");
            }
            std::vector<at::Tensor> parts;
            for (std::int64_t i = 0; i < a.size(0); ++i) {
              run.check();
              parts.push_back(network.distance(a.narrow(0, i, 1), network.features(b.narrow(0, i, 1))).reshape({1}));
            }
            return to_host(at::cat(parts).to(at::kFloat));
          },
          write_result);
}

/// Latents [n, rows, width] or [n, width] moved by a mapper.
Napi::Value map(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "mapper");
  HostArray latents = read_tensor(info[1], {"latents", {at::kFloat}, -1});
  const double strength = Options(info[2], "options").number("strength");
  if (latents.shape.empty() || latents.length == 0) {
    refuse(ErrorCode::Shape, "latents is empty", "Pass a batch of at least one.");
  }
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[3], "map latents",
          [model = std::move(model), latents = std::move(latents), strength](const RunContext& run) {
            return mapped_in_batches(run, "map", latents.view(), kVectorBatch, "latents", [&](const at::Tensor& part) {
              return to_host(model->get<Mapper>().apply(part, strength));
            });
          },
          write_result);
}

Napi::Value direction_of_text(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "clip");
  HostArray target = read_tokens(info[1], "target");
  HostArray neutral = read_tokens(info[2], "neutral");
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[3], "make a text direction",
          [model = std::move(model), target = std::move(target), neutral = std::move(neutral)](const RunContext& run) {
            TextDirection text = text_direction(model->get<Clip>(), token_tensor(target), token_tensor(neutral), run);
            for (at::Tensor* part : {&text.direction, &text.target, &text.neutral}) *part = to_host(*part);
            return text;
          },
          [](Napi::Env env, TextDirection&& text) -> Napi::Value {
            Napi::Object object = Napi::Object::New(env);
            object["direction"] = write_array(env, text.direction);
            object["length"] = text.length;
            object["target"] = write_array(env, text.target);
            object["neutral"] = write_array(env, text.neutral);
            return object;
          });
}

}  // namespace

void export_encoders(Napi::Env /*env*/, Napi::Object exports) {
  add_asynchronous<encode_text>(exports, "encodeText");
  add_asynchronous<encode_image>(exports, "encodeImage");
  add_asynchronous<direction_of_text>(exports, "textDirection");
  add_asynchronous<embed>(exports, "embed");
  add_asynchronous<encode>(exports, "encode");
  add_asynchronous<perceptual_distance>(exports, "perceptualDistance");
  add_asynchronous<map>(exports, "map");
}

}  // namespace styleclip::binding
