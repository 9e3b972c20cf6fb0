// From two texts to a unit vector in CLIP's space (released code: MapTS.py, GetDt). Sums run in float64 on the CPU.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "styleclip/editing.h"
#include "styleclip/error.h"

namespace styleclip {
namespace {

constexpr std::int64_t kPromptsAForward = 64;

// Two texts whose unit embeddings are nearer than this are one text to CLIP: float32 embeddings of unit length carry
// rounding of about this size, and the direction between them would be noise.
constexpr double kSameText = 1e-6;

// tokens [prompts, context] -> unit(mean over prompts of unit(embedding)) [d] float64 on the CPU.
at::Tensor mean_embedding(Clip& clip, const at::Tensor& tokens, const char* which, const RunContext& run) {
  if (tokens.dim() != 2 || tokens.size(0) < 1) {
    throw Error(ErrorCode::Shape, std::string("The ") + which + " text has no prompts.",
                "Give tokens [prompts, context] of at least one prompt.");
  }
  std::vector<at::Tensor> parts;
  for (std::int64_t first = 0; first < tokens.size(0); first += kPromptsAForward) {
    run.check();
    const std::int64_t count = std::min(kPromptsAForward, tokens.size(0) - first);
    parts.push_back(clip.encode_text(tokens.narrow(0, first, count)).to(at::kCPU, at::kDouble));
  }
  const at::Tensor embeddings = at::cat(parts);
  const at::Tensor mean = (embeddings / embeddings.norm(2, 1, /*keepdim=*/true)).mean(0);
  const at::Tensor unit = mean / mean.norm();
  if (at::isfinite(unit).all().item<bool>()) return unit;
  throw Error(ErrorCode::NotFinite, std::string("CLIP's embedding of the ") + which + " text is not finite.",
              "The CLIP model's weights are damaged; in half precision, try float32.");
}

}  // namespace

TextDirection text_direction(Clip& clip, const at::Tensor& target_tokens, const at::Tensor& neutral_tokens,
                             const RunContext& run) {
  const c10::NoGradGuard no_grad;
  const at::Tensor target = mean_embedding(clip, target_tokens, "target", run);
  const at::Tensor neutral = mean_embedding(clip, neutral_tokens, "neutral", run);
  const at::Tensor difference = target - neutral;
  TextDirection result;
  result.length = difference.norm().item<double>();
  if (result.length < kSameText) {
    throw Error(ErrorCode::EmptySelection, "To this CLIP model the target and the neutral text are the same.",
                "Use texts that differ in words the model knows.");
  }
  result.direction = (difference / result.length).to(at::kFloat);
  result.target = target.to(at::kFloat);
  result.neutral = neutral.to(at::kFloat);
  return result;
}

}  // namespace styleclip
