// Steps of latent optimisation: seconds of a step, memory above the loaded models, and the losses, by which another
// implementation shows that it computes the same. The released code's settings, but for λ of identity.
//
//     styleclip_bench optimize --generator G.pt --clip C.pt --identity I.pt --latents W.f32 --text T.f32 --steps 20
//
// latents: [problems, rows, width] float32 in native order; text: [embedding].
#include <ATen/ops/from_blob.h>

#include <chrono>
#include <fstream>
#include <sstream>

#include "questions.h"
#include "runtime/resident_memory.h"
#include "styleclip/error.h"
#include "styleclip/optimizer.h"
#include "timing.h"

namespace styleclip::bench {
namespace {

at::Tensor read_floats(const std::string& path, std::vector<std::int64_t> shape) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  std::string text = bytes.str();
  std::int64_t one = 1;
  for (const std::int64_t size : shape) one *= size;
  const auto count = static_cast<std::int64_t>(text.size() / sizeof(float));
  if (!file || count == 0 || count % one != 0 || text.size() % sizeof(float) != 0) {
    throw Error(ErrorCode::Disk, "Cannot read float32 numbers of the right shape from " + path + ".",
                "Write them in native order, without a header.");
  }
  shape.insert(shape.begin(), count / one);
  return at::from_blob(text.data(), shape, at::kFloat).clone();
}

}  // namespace

nlohmann::ordered_json answer_optimize(const Arguments& arguments) {
  LoadOptions options;
  options.device = arguments.text("device");
  const auto generator = Generator::load(arguments.text("generator"), options);
  const auto clip = Clip::load(arguments.text("clip"), options);
  const auto identity = Identity::load(arguments.text("identity"), options);
  const at::Tensor latents = read_floats(arguments.text("latents"), {generator->layout().rows, generator->w_dim()});
  const at::Tensor text = read_floats(arguments.text("text"), {clip->embedding_dim()}).unsqueeze(0);

  OptimizerOptions wanted;
  wanted.steps = arguments.numbers("steps").at(0);
  wanted.learning_rate = 0.1;
  wanted.in_sigmas = false;
  wanted.idle_first_step = true;
  wanted.objective.lambda_l2 = 0.008;
  wanted.objective.lambda_id = 0.005;
  wanted.objective.clip_input = ClipInput::Raw;
  wanted.batch = arguments.number("batch");
  const at::Device device(generator->device());
  std::vector<double> seconds;
  LatentOptimizer optimizer(*generator, *clip, identity.get(), latents, text, wanted, {});
  const std::int64_t before = start_peak();
  for (bool running = true; running;) {
    seconds.push_back(seconds_of(device, [&] { running = optimizer.advance(1, {}); }));
  }
  const OptimizerState state = optimizer.state();
  const at::Tensor totals = state.curves.select(1, 0).mean(0).contiguous();
  std::vector<double> losses(totals.const_data_ptr<double>(), totals.const_data_ptr<double>() + totals.numel());
  // The first step makes what the others reuse; the last one looks a second time.
  const std::vector<double> steady(seconds.begin() + 1, seconds.end() - 1);
  return {{"problems", latents.size(0)},
          {"seconds", median(steady)},
          {"all", steady},
          {"peakBytes", peak_bytes() - before},
          {"losses", losses}};
}

}  // namespace styleclip::bench
