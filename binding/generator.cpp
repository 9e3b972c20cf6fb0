// The generator's functions: latents in and out, pictures out. Every one runs in batches, so that it can be stopped.
#include <ATen/ops/empty.h>

#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "batches.h"
#include "convert.h"
#include "environment.h"
#include "errors.h"
#include "exports.h"
#include "groups.h"
#include "model.h"
#include "pictures.h"

namespace styleclip::binding {
namespace {

enum class Space { Z, W, WPlus, S };

struct Truncation {
  double psi = 1;
  std::int64_t cutoff = -1;
};

Truncation read_truncation(const Options& options) {
  return {options.number("truncationPsi"), options.integer("truncationCutoff", -1, kMostInteger)};
}

Napi::Value write_result(Napi::Env env, at::Tensor&& host) { return write_tensor(env, host); }

/// [1 or n, label_dim] of a conditional generator; none: undefined.
std::optional<HostArray> read_labels(const Options& options) {
  const Napi::Value value = options.value("labels");
  if (value.IsUndefined()) return std::nullopt;
  return read_tensor(value, {options.path("labels"), {at::kFloat}, 2});
}

/// w of z; rows first … of the labels, or the one label for all.
at::Tensor map(Generator& generator, const at::Tensor& z, const std::optional<HostArray>& labels, std::int64_t first) {
  if (!labels) return generator.mapping(z, at::Tensor());
  const at::Tensor all = labels->view();
  const bool one = all.size(0) == 1;
  return generator.mapping(z, one ? all.expand({z.size(0), all.size(1)}) : all.narrow(0, first, z.size(0)));
}

void check_labels(const std::optional<HostArray>& labels, std::int64_t count) {
  if (!labels || labels->shape[0] == 1 || labels->shape[0] == count) return;
  refuse(ErrorCode::Shape, std::to_string(labels->shape[0]) + " labels for " + std::to_string(count) + " latents",
         "Pass one label, or one a latent.");
}

/// Samples first … first + count - 1 as a latent of `space`. In w there are no rows, so a truncation holds for the whole.
at::Tensor draw(Generator& generator, std::int64_t count, std::uint64_t seed, std::int64_t first, Space space,
                const Truncation& truncation, const std::optional<HostArray>& labels, std::int64_t first_label) {
  at::Tensor z = generator.sample_z(count, seed, first);
  if (space == Space::Z) return z;
  const at::Tensor w = map(generator, z, labels, first_label);
  if (space == Space::W) return generator.truncate(w, truncation.psi, -1).select(1, 0);
  const at::Tensor w_plus = generator.truncate(w, truncation.psi, truncation.cutoff);
  return space == Space::WPlus ? w_plus : generator.styles(w_plus);
}

Napi::Value sample(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "generator");
  const Options options(info[1], "options");
  const std::int64_t count = options.integer("count", 1, kMostInteger);
  const std::int64_t first = options.integer("first", 0, std::numeric_limits<std::int64_t>::max() - kMostInteger);
  const std::uint64_t seed = options.seed("seed");
  const Truncation truncation = read_truncation(options);
  const Space space =
      options.choice<Space>("space", {{"z", Space::Z}, {"w", Space::W}, {"w_plus", Space::WPlus}, {"s", Space::S}});
  std::optional<HostArray> labels = read_labels(options);
  check_labels(labels, count);
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[2], "sample latents",
          [=, model = std::move(model), labels = std::move(labels)](const RunContext& run) {
            auto& generator = model->get<Generator>();
            std::vector<at::Tensor> parts;
            in_batches(run, "sample", count, kVectorBatch, "samples", [&](std::int64_t from, std::int64_t part) {
              parts.push_back(to_host(draw(generator, part, seed, first + from, space, truncation, labels, from)));
            });
            return parts.size() == 1 ? parts.front() : at::cat(parts);
          },
          write_result);
}

Napi::Value mapping(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "generator");
  HostArray z = read_tensor(info[1], {"z", {at::kFloat}, 2});
  std::optional<HostArray> labels = read_labels(Options(info[2], "options"));
  check_labels(labels, z.shape[0]);
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[3], "map latents",
          [model = std::move(model), z = std::move(z), labels = std::move(labels)](const RunContext& run) {
            auto& generator = model->get<Generator>();
            const at::Tensor all = z.view();
            std::vector<at::Tensor> parts;
            in_batches(run, "mapping", all.size(0), kVectorBatch, "latents",
                       [&](std::int64_t from, std::int64_t count) {
                         parts.push_back(to_host(map(generator, all.narrow(0, from, count), labels, from)));
                       });
            return parts.size() == 1 ? parts.front() : at::cat(parts);
          },
          write_result);
}

Napi::Value styles(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "generator");
  HostArray rows = read_tensor(info[1], {"wPlus", {at::kFloat}, 3});
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[2], "styles",
          [model = std::move(model), rows = std::move(rows)](const RunContext& run) {
            return mapped_in_batches(run, "styles", rows.view(), kVectorBatch, "latents", [&](const at::Tensor& part) {
              return to_host(model->get<Generator>().styles(part));
            });
          },
          write_result);
}

Napi::Value truncate(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "generator");
  HostArray w = read_tensor(info[1], {"w", {at::kFloat}, 2});
  const Truncation truncation = read_truncation(Options(info[2], "options"));
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[3], "truncate latents",
          [model = std::move(model), w = std::move(w), truncation](const RunContext&) {
            return to_host(model->get<Generator>().truncate(w.view(), truncation.psi, truncation.cutoff));
          },
          write_result);
}

Napi::Value synthesize(const Napi::CallbackInfo& info) {
  auto model = ModelObject::open(info[0], "generator");
  HostArray s = read_tensor(info[1], {"s", {at::kFloat}, 2});
  const Options options(info[2], "options");
  const NoiseMode noise = read_noise(options);
  const std::uint64_t noise_seed = options.seed("noiseSeed");
  const std::int64_t asked = options.integer("batch", 0, kMostInteger);
  const std::int64_t batch = asked == 0 ? kPictureBatch : asked;
  const PictureType type = read_picture_type(options);
  DeviceThread& thread = model->thread;
  return Environment::of(info.Env())
      .call(
          thread, info[3], "synthesise pictures",
          [=, model = std::move(model), s = std::move(s)](const RunContext& run) {
            auto& generator = model->get<Generator>();
            const at::Tensor styles = s.view();
            PictureStore store(styles.size(0), generator.image_size(), type);
            in_batches(run, "synthesis", styles.size(0), batch, "images", [&](std::int64_t from, std::int64_t count) {
              store.put(from, generator.synthesis(styles.narrow(0, from, count), noise, noise_seed, from));
            });
            return store.take();
          },
          write_result);
}

}  // namespace

void export_generator(Napi::Env /*env*/, Napi::Object exports) {
  add_asynchronous<sample>(exports, "sample");
  add_asynchronous<mapping>(exports, "mapping");
  add_asynchronous<truncate>(exports, "truncate");
  add_asynchronous<styles>(exports, "styles");
  add_asynchronous<synthesize>(exports, "synthesize");
}

}  // namespace styleclip::binding
