// The sweep in its fast exact form (architecture notes, "The relevance sweep, the fast exact way"): no approximation in
// real arithmetic, only the order of the sums differs from sweep_reference. Sample pictures are the outer loop: per
// picture the network is folded and run once, then every channel's two pictures are painted from what that run left.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "relevance/engines.h"
#include "relevance/exact/canvas.h"
#include "relevance/exact/footprint.h"
#include "relevance/exact/network.h"
#include "relevance/exact/painter.h"
#include "relevance/precision.h"
#include "relevance/working_memory.h"
#include "runtime/crew.h"
#include "runtime/reused_memory.h"

namespace styleclip {
namespace {

// Rows of a part that go through the network together, part.rows[first] …; all of one layer.
struct Chunk {
  std::size_t layer;
  std::int64_t first, k;
};

constexpr std::int64_t kStopAt = 256;  // default of stop-at: config-f's pictures at a quarter of their size
// On a CPU every thread takes chunks of its own and runs them from the changed layer to the embedding: nothing waits, and
// activations stay in the thread's cache.
constexpr std::int64_t kCpuChunk = 32;  // pictures; CLIP's matrix products want some
// Up to so many channels each thread takes a picture of its own and sends channels of several layers through CLIP together.
constexpr std::int64_t kFewChannels = 128;
constexpr std::int64_t kPicturesApart = 32;  // whose sums are held apart

class ExactEngine : public SweepEngine {
 public:
  /// `stop_at`: resolution after which pictures are finished as the unchanged one is; the network's own for none. `beside`:
  /// bytes that its caller holds, beyond the sums.
  ExactEngine(const SweepTask& task, exact::Network network, std::int64_t stop_at, std::int64_t beside, ExactWay way)
      : SweepEngine(task),
        stop_at_(stop_at < network.image_size),
        network_(std::move(network)),
        clip_(clip_for(task)),
        crew_(way == ExactWay::Crew),
        // CLIP's own size, so that only its mean and deviation are left to do; the released code's 8-bit roundings need
        // the whole picture.
        canvas_(network_,
                task.options.preprocess == Preprocess::Float ? task.clip.image_size() : task.generator.image_size()),
        settings_{activation_type(task.options.precision), crew_ ? exact::kCpuTogether : 0, stop_at},
        footprint_(network_, canvas_, settings_) {
    plan(beside);
  }

  std::string implementation() const override { return stop_at_ ? "stop-at" : "exact"; }
  at::ScalarType activations() const override { return settings_.type; }

  void add(const SweepPart& part, RelevanceSums& sums, ProgressMeter& meter) override {
    if (by_picture(part)) return add_by_picture(part, sums, meter);
    const c10::InferenceMode guard;
    const PrecisionGuard precision(task_.options.precision);
    const UseMemoryPool reuse(pool_);
    std::optional<Crew> crew;
    if (crew_) crew.emplace(at::get_num_threads(), beside());
    const std::vector<Chunk> chunks = chunks_of(part);
    for (std::int64_t i = 0; i < part.pictures; ++i) {
      task_.run.check();
      const std::int64_t picture = part.first_picture + i;
      std::optional<exact::Painter> painter;
      const auto paint_base = [&](std::size_t) { painter.emplace(painter_of(picture)); };
      // By one thread of the crew, as where each takes a picture of its own: the same bits, however many there are.
      crew ? crew->run(1, paint_base, [](std::size_t) {}) : paint_base(0);
      const auto sweep = [&](std::size_t one) {
        task_.run.check();
        sweep_chunks(*painter, part, picture, {chunks[one]}, sums);
      };
      const auto told = [&](std::size_t one) { meter.step(2 * chunks[one].k); };
      if (crew) {
        crew->run(chunks.size(), sweep, told);
        continue;
      }
      for (std::size_t one = 0; one < chunks.size(); ++one) {
        sweep(one);
        told(one);
      }
    }
  }

  void add_each(const SweepPart& part, std::vector<RelevanceSums>& each, ProgressMeter& meter) override {
    if (!by_picture(part)) return SweepEngine::add_each(part, each, meter);
    const PrecisionGuard precision(task_.options.precision);
    Crew crew(at::get_num_threads(), beside());
    const std::vector<std::vector<Chunk>> groups = together(chunks_of(part));
    const auto sweep = [&](std::size_t i) {
      const std::int64_t picture = part.first_picture + static_cast<std::int64_t>(i);
      task_.run.check();
      const exact::Painter painter = painter_of(picture);
      for (const std::vector<Chunk>& group : groups) {
        task_.run.check();
        sweep_chunks(painter, part, picture, group, each[i]);
      }
    };
    crew.run(each.size(), sweep, [&](std::size_t) { meter.step(2 * std::ssize(part.rows)); });
  }

 private:
  // Flat index of a row's channel.
  std::int64_t channel_of(std::int64_t row) const {
    const std::int64_t place = task_.inputs.moving[static_cast<std::size_t>(row)];
    return task_.inputs.channels[static_cast<std::size_t>(place)];
  }

  // Chooses the batch, and with it what the pool may hold.
  void plan(std::int64_t beside) {
    const std::string device = task_.generator.device();
    const std::int64_t threads = crew_ ? at::get_num_threads() : 1;
    std::int64_t common = library_bytes(device) + table_bytes(task_) + beside + footprint_.network();
    if (clip_.get() != &task_.clip) common += clip_->memory_bytes();
    const bool planned = task_.options.batch == 0;
    const PictureBytes clip = planned ? clip_bytes() : PictureBytes();
    const std::int64_t alike = alike_bytes(3 * canvas_.size() * canvas_.size());
    const auto thread = [&](std::int64_t pictures) {
      const std::int64_t embedding = std::max(clip.of(pictures), pictures / 2 * alike);
      return std::max(footprint_.painting(pictures), pictures * footprint_.canvas() + embedding);
    };
    const auto bytes = [&](std::int64_t pictures) {
      return common + footprint_.painter() + std::max(footprint_.base_pass(), threads * thread(pictures));
    };
    const std::int64_t largest = largest_batch(device);
    const std::int64_t bound = plan_batch(2, crew_ ? std::min(largest / threads, kCpuChunk) : largest, bytes);
    batch_ = std::max<std::int64_t>(2, batch_);
    const std::int64_t each = std::max(footprint_.base_pass(), thread(batch_)) + footprint_.painter();
    const std::int64_t apart = sums_bytes(kPicturesApart * kFewChannels, task_.clip.embedding_dim());
    bases_fit_ = common + apart + threads * each <= bound;
    pool_.set_most(std::max<std::int64_t>(0, bound - common));
  }

  // Of canvases through CLIP.
  PictureBytes clip_bytes() {
    return measure_pictures(task_.generator.device(), 2, [&](std::int64_t pictures) {
      task_.run.check();
      const c10::InferenceMode guard;
      const PrecisionGuard precision(task_.options.precision);
      const at::Tensor canvas = at::zeros({pictures, 3, canvas_.size(), canvas_.size()}, network_.input.options());
      const at::Tensor f = clip_->encode_image(clip_->preprocess(canvas, task_.options.preprocess));
    });
  }

  // What a crew's thread does about its work.
  std::function<void(const std::function<void()>&)> beside() {
    return [this](const std::function<void()>& serve) {
      const c10::InferenceMode inside;
      const UseMemoryPool reuse_here(pool_);
      serve();
    };
  }

  // A few channels are no work for several threads: then each takes pictures of its own. That other channels go
  // through CLIP together changes the last bits, and whether there is room for it is no part of a plan.
  bool by_picture(const SweepPart& part) const {
    return crew_ && !task_.planned && part.pictures > 1 && std::ssize(part.rows) <= kFewChannels && bases_fit_;
  }

  void add_by_picture(const SweepPart& part, RelevanceSums& sums, ProgressMeter& meter) {
    SweepPart some = part;
    for (std::int64_t done = 0; done < part.pictures; done += some.pictures) {
      some.first_picture = part.first_picture + done;
      some.pictures = std::min(kPicturesApart, part.pictures - done);
      std::vector<RelevanceSums> each;
      each.reserve(static_cast<std::size_t>(some.pictures));
      for (std::int64_t i = 0; i < some.pictures; ++i) each.emplace_back(sums.sum.size(0), sums.sum.size(1), at::kCPU);
      add_each(some, each, meter);
      for (const RelevanceSums& one : each) sums.add(one);  // in the pictures' order: the same bits run after run
    }
  }

  exact::Painter painter_of(std::int64_t picture) const {
    std::vector<at::Tensor> styles = task_.generator.layout().unflatten(task_.inputs.base.narrow(0, picture, 1));
    for (at::Tensor& style : styles) style = style[0];
    return {network_, canvas_, styles,
            exact::noise_of(network_, task_.options.noise, task_.options.samples.seed, picture), settings_};
  }

  // Chunks that go through CLIP together: as few groups as the batch allows, of about one size, since CLIP is slow at few
  // pictures.
  std::vector<std::vector<Chunk>> together(const std::vector<Chunk>& chunks) const {
    std::vector<std::vector<Chunk>> groups;
    std::int64_t all = 0, k = 0;
    for (const Chunk& chunk : chunks) all += chunk.k;
    const std::int64_t most = batch_ / 2, parts = (all + most - 1) / most, even = (all + parts - 1) / parts;
    for (const Chunk& chunk : chunks) {
      if (groups.empty() || k >= even || k + chunk.k > most) {
        groups.emplace_back();
        k = 0;
      }
      groups.back().push_back(chunk);
      k += chunk.k;
    }
    return groups;
  }

  std::vector<Chunk> chunks_of(const SweepPart& part) const {
    const StyleLayout& layout = task_.generator.layout();
    std::vector<Chunk> chunks;
    for (std::size_t i = 0; i < part.rows.size(); ++i) {
      const std::size_t layer = layout.layer_of(channel_of(part.rows[i]));
      if (chunks.empty() || chunks.back().layer != layer || chunks.back().k >= batch_ / 2) {
        chunks.push_back({layer, static_cast<std::int64_t>(i), 0});
      }
      ++chunks.back().k;
    }
    return chunks;
  }

  void sweep_chunks(const exact::Painter& painter, const SweepPart& part, std::int64_t picture,
                    const std::vector<Chunk>& chunks, RelevanceSums& sums) {
    std::int64_t pictures = 0;
    for (const Chunk& chunk : chunks) pictures += 2 * chunk.k;
    at::Tensor all, f;
    try {
      std::vector<at::Tensor> painted;
      painted.reserve(chunks.size());
      for (const Chunk& chunk : chunks)
        painted.push_back(paint(painter, picture, chunk, part.rows.data() + chunk.first));
      all = painted.size() == 1 ? painted[0] : at::cat(painted);
      painted.clear();
      f = clip_->encode_image(clip_->preprocess(all, task_.options.preprocess));
    } catch (...) {
      halve_or_rethrow(pictures, 2);
    }
    if (!f.defined()) {
      all.reset();
      pool_.trim();
      const auto middle = chunks.begin() + std::ssize(chunks) / 2;
      const Chunk& only = chunks.front();
      const std::int64_t half = only.k / 2;
      const bool several = chunks.size() > 1;
      sweep_chunks(painter, part, picture,
                   several ? std::vector(chunks.begin(), middle) : std::vector{Chunk{only.layer, only.first, half}},
                   sums);
      sweep_chunks(painter, part, picture,
                   several ? std::vector(middle, chunks.end())
                           : std::vector{Chunk{only.layer, only.first + half, only.k - half}},
                   sums);
      return;
    }
    for (std::int64_t first = 0; const Chunk& chunk : chunks) {
      const at::Tensor f_plus = f.narrow(0, first, chunk.k), f_minus = f.narrow(0, first + chunk.k, chunk.k);
      embed_alike(all.narrow(0, first, chunk.k), all.narrow(0, first + chunk.k, chunk.k), f_plus, f_minus);
      sums.add(chunk.first, f_plus.unsqueeze(1), f_minus.unsqueeze(1));
      check_finite(sums, part, chunk.first, chunk.k, picture, 1);
      first += 2 * chunk.k;
    }
  }

  // Canvases [2 k, 3, size, size] of rows[0] … rows[k − 1] of the sweep, which are of one layer: plus first.
  at::Tensor paint(const exact::Painter& painter, std::int64_t picture, const Chunk& chunk,
                   const std::int64_t* rows) const {
    const SweepInputs& inputs = task_.inputs;
    const StyleLayer& place = task_.generator.layout().layers[chunk.layer];
    std::vector<std::int64_t> places(static_cast<std::size_t>(chunk.k)), in_layer(places.size());
    for (std::size_t i = 0; i < places.size(); ++i) {
      places[i] = inputs.moving[static_cast<std::size_t>(rows[i])];
      in_layer[i] = channel_of(rows[i]) - place.offset;
    }
    const at::Tensor here = at::tensor(places, at::kLong).to(inputs.plus.device());
    const at::Tensor channels = at::tensor(in_layer, at::kLong).to(here.device());
    const at::Tensor plus = inputs.plus.select(1, picture).index_select(0, here);
    const at::Tensor minus = inputs.minus.select(1, picture).index_select(0, here);
    // Layers come as [conv, torgb], then [conv, conv, torgb] a block.
    const std::size_t to_rgb = chunk.layer < 2 ? 0 : (chunk.layer - 2) / 3 + 1;
    const std::size_t conv = chunk.layer < 2 ? 0 : chunk.layer - to_rgb;
    return place.to_rgb ? painter.paint_to_rgb(to_rgb, channels, plus, minus)
                        : painter.paint_conv(conv, channels, plus, minus);
  }

  // CLIP in the sweep's type: the one given, or a copy.
  static std::shared_ptr<Clip> clip_for(const SweepTask& task) {
    const Precision precision = task.options.precision;
    const std::string wanted = precision == Precision::TF32 ? "float32" : precision_name(precision);
    if (task.clip.dtype() == wanted) return {std::shared_ptr<Clip>(), &task.clip};
    return task.clip.converted(wanted);
  }

  bool stop_at_;
  exact::Network network_;
  std::shared_ptr<Clip> clip_;
  bool crew_;
  exact::Canvas canvas_;
  exact::PainterSettings settings_;
  exact::Footprint footprint_;
  MemoryPool pool_{0};
  bool bases_fit_ = false;  // of a picture a thread, in memory
};

ExactWay way_of(const SweepTask& task) {
  return c10::Device(task.generator.device()).is_cpu() ? ExactWay::Crew : ExactWay::Batches;
}

// The generator's network, after the checks that every method on it shares; nullopt where it cannot be taken apart.
std::optional<exact::Network> network_of(const SweepTask& task) {
  const bool cpu = c10::Device(task.generator.device()).is_cpu();
  if (cpu && task.options.precision == Precision::TF32) {
    throw Error(ErrorCode::Argument,
                "The precision tf32 is NVIDIA's, and the models are on " + task.generator.device() + ".",
                "Use float32, or bfloat16 where the processor has it.");
  }
  return exact::read_network(task.generator);
}

}  // namespace

std::unique_ptr<SweepEngine> make_exact_engine(const SweepTask& task, std::int64_t beside,
                                               std::optional<ExactWay> way) {
  const c10::InferenceMode guard;
  std::optional<exact::Network> network = network_of(task);
  if (!network) {
    const Precision precision = task.options.precision;
    if (precision != Precision::Float32 && precision_name(precision) != task.generator.dtype()) {
      throw Error(
          ErrorCode::Argument,
          "This generator cannot be taken apart, so the sweep computes in its own " + task.generator.dtype() + ".",
          "Load the models in " + precision_name(precision) + ", or leave the precision out.");
    }
    return make_reference_engine(task, beside);
  }
  const std::int64_t whole = network->image_size;
  return std::make_unique<ExactEngine>(task, std::move(*network), whole, beside, way.value_or(way_of(task)));
}

std::unique_ptr<SweepEngine> make_stop_at_engine(const SweepTask& task) {
  const c10::InferenceMode guard;
  std::optional<exact::Network> network = network_of(task);
  if (!network) {
    throw Error(ErrorCode::Argument,
                "This generator cannot be taken apart, so its pictures cannot be stopped at a lower resolution.",
                "Use method reference, or a StyleGAN2 archive.");
  }
  const std::int64_t whole = network->image_size;
  const std::int64_t wanted = task.options.stop_at > 0 ? task.options.stop_at : std::min(kStopAt, whole / 2);
  const auto& layers = network->to_rgbs;
  if (std::none_of(layers.begin(), layers.end(), [&](const exact::ToRgb& l) { return l.resolution == wanted; })) {
    std::string known;
    for (const exact::ToRgb& layer : layers) known += (known.empty() ? "" : ", ") + std::to_string(layer.resolution);
    throw Error(ErrorCode::Range, "The generator has no resolution " + std::to_string(wanted) + " to stop at.",
                "Its resolutions are " + known + ".");
  }
  return std::make_unique<ExactEngine>(task, std::move(*network), wanted, 0, way_of(task));
}

}  // namespace styleclip
