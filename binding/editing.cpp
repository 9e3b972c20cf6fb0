// Directions and edits. globalDirection is plain C++ on the calling thread: it calls nothing of libtorch's.
#include <string>
#include <utility>
#include <vector>

#include "batches.h"
#include "convert.h"
#include "environment.h"
#include "exports.h"
#include "groups.h"
#include "model.h"
#include "pictures.h"
#include "styleclip/editing.h"

namespace styleclip::binding {
namespace {

DirectionOptions read_direction_options(const Options& options) {
  DirectionOptions wanted;
  wanted.beta = options.number("beta");
  wanted.channels = options.integer("channels", 0, kMostInteger);
  wanted.automatic_channels = options.integer("automaticChannels", 0, kMostInteger);
  wanted.measure =
      options.choice<Measure>("measure", {{"cosine", Measure::Cosine}, {"projection", Measure::Projection}});
  wanted.scale_by_sigma = options.boolean("scaleBySigma");
  wanted.normalise_largest = options.boolean("normaliseLargest");
  return wanted;
}

Napi::Value write_direction(Napi::Env env, const GlobalDirection& direction) {
  Napi::Array selected = Napi::Array::New(env, direction.selected.size());
  for (std::uint32_t i = 0; i < direction.selected.size(); ++i) {
    const SelectedChannel& channel = direction.selected[i];
    Napi::Object object = Napi::Object::New(env);
    object["row"] = static_cast<double>(channel.row);
    object["channel"] = static_cast<double>(channel.channel);
    object["relevance"] = static_cast<double>(channel.relevance);
    object["delta"] = static_cast<double>(channel.delta);
    selected[i] = object;
  }
  Napi::Object object = Napi::Object::New(env);
  object["selected"] = selected;
  object["delta"] = write_floats(env, direction.delta.data(), direction.delta.size());
  object["beta"] = direction.beta;
  object["largest"] = direction.largest;
  return object;
}

void require_length(const HostArray& array, std::int64_t length, const std::string& name) {
  if (array.length == length) return;
  refuse(ErrorCode::Shape, name + " has " + std::to_string(array.length) + " elements, not " + std::to_string(length),
         "Pass arrays that belong together.");
}

Napi::Value direction(const Napi::CallbackInfo& info) {
  const Options relevance(info[0], "relevance");
  const HostArray rows = read_tensor(relevance.value("rows"), {relevance.path("rows"), {at::kFloat}, 2});
  const HostArray channels = read_array(relevance.value("channels"), {relevance.path("channels"), {at::kInt}});
  const HostArray concentration =
      read_array(relevance.value("concentration"), {relevance.path("concentration"), {at::kFloat}});
  const HostArray sigma = read_array(relevance.value("sigma"), {relevance.path("sigma"), {at::kFloat}});
  const HostArray text = read_array(info[1], {"text", {at::kFloat}});
  const std::int64_t count = rows.shape[0];
  const std::int64_t dim = rows.shape[1];
  require_length(channels, count, relevance.path("channels"));
  require_length(concentration, count, relevance.path("concentration"));
  require_length(text, dim, "text");

  const std::int32_t* const narrow = channels.as<std::int32_t>();
  const std::vector<std::int64_t> flat(narrow, narrow + count);
  for (const std::int64_t channel : flat) {
    if (channel < 0 || channel >= sigma.length) {
      refuse(ErrorCode::Range, relevance.path("channels") + " names channel " + std::to_string(channel),
             "Pass flat indices into sigma.");
    }
  }
  RelevanceView view;
  view.rows = rows.as<float>();
  view.count = count;
  view.dim = dim;
  view.channels = flat.data();
  view.concentration = concentration.as<float>();
  view.sigma = sigma.as<float>();
  view.total = sigma.length;
  return write_direction(info.Env(),
                         global_direction(view, text.as<float>(), read_direction_options(Options(info[2], "options"))));
}

struct Edited {
  at::Tensor images, s;
};

Napi::Value edit_pictures(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "generator");
  HostArray s = read_tensor(info[1], {"s", {at::kFloat}, 2});
  HostArray delta = read_array(info[2], {"delta", {at::kFloat}});
  const Options options(info[3], "options");
  const HostArray alpha = read_array(options.value("alpha"), {options.path("alpha"), {at::kDouble}});
  std::vector<double> alphas(alpha.as<double>(), alpha.as<double>() + alpha.length);
  const std::int64_t asked = options.integer("batch", 0, kMostInteger);
  const std::int64_t batch = asked == 0 ? kPictureBatch : asked;
  const NoiseMode noise = read_noise(options);
  const PictureType type = read_picture_type(options);
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[4], "edit pictures",
          [=, model = std::move(model), s = std::move(s), delta = std::move(delta),
           alphas = std::move(alphas)](const RunContext& run) -> Edited {
            auto& generator = model->get<Generator>();
            PictureStore store(s.shape[0] * static_cast<std::int64_t>(alphas.size()), generator.image_size(), type);
            const auto take = [&](std::int64_t first, const at::Tensor& images) { store.put(first, images); };
            const at::Tensor codes = edit(generator, s.view(), delta.view(), alphas, batch, noise, take, run);
            return {store.take(), to_host(codes)};
          },
          [](Napi::Env env, Edited&& edited) -> Napi::Value {
            Napi::Object object = Napi::Object::New(env);
            object["images"] = write_tensor(env, edited.images);
            object["s"] = write_tensor(env, edited.s);
            return object;
          });
}

}  // namespace

void export_editing(Napi::Env /*env*/, Napi::Object exports) {
  add_synchronous<direction>(exports, "globalDirection");
  add_asynchronous<edit_pictures>(exports, "edit");
}

}  // namespace styleclip::binding
