// The kernels of the operators with gradients as their implementations on CUDA tensors; see register.cpp for the rule.
// Tensors may lie in memory as they like: what has gaps or another order is copied.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <array>
#include <cmath>
#include <tuple>

#include "arguments.h"
#include "edit_loss.h"
#include "filter_styled_activate.h"
#include "resample.h"
#include "styled_activate.h"

namespace styleclip::cuda {
namespace {

using Wanted = std::array<bool, 4>;
using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;
using LossAndGradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

/// What the operators with gradients have besides.
class GradientArguments : public Arguments {
 public:
  GradientArguments(const char* op, const char* name, const at::Tensor& first, std::int64_t dimensions)
      : Arguments(op, first) {
    element(name, first, dimensions);
  }
  /// [h, w] or [n, h, w] or none.
  at::Tensor noise(const Optional& tensor, std::int64_t n, std::int64_t h, std::int64_t w) const {
    const bool each = tensor && tensor->defined() && tensor->dim() == 3;
    return each ? floats("noise", *tensor, {n, h, w}) : optional_floats("noise", tensor, {h, w});
  }
};

float* written(at::Tensor& tensor) { return tensor.defined() ? tensor.mutable_data_ptr<float>() : nullptr; }
at::Tensor channels_last(const at::Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

/// What clamps a number of this type; the backward pass meets it in y.
float limit_in(at::ScalarType type, float limit) {
  if (!std::isfinite(limit)) return limit;
  if (type == at::kHalf) return static_cast<float>(c10::Half(limit));
  return type == at::kBFloat16 ? static_cast<float>(c10::BFloat16(limit)) : limit;
}

at::Tensor resample(const at::Tensor& images, const at::Tensor& vertical, const at::Tensor& horizontal) {
  const GradientArguments arguments("resample", "images", images, 4);
  TORCH_CHECK_VALUE(vertical.dim() == 2 && horizontal.dim() == 2, "resample: vertical is ", vertical.sizes(),
                    ", horizontal ", horizontal.sizes());
  const std::int64_t n = images.size(0), channels = images.size(1), h = images.size(2), w = images.size(3);
  const std::int64_t height = vertical.size(0), width = horizontal.size(0);
  arguments.placed("vertical", vertical, {height, h}, at::kFloat);
  arguments.placed("horizontal", horizontal, {width, w}, at::kFloat);
  const c10::cuda::CUDAGuard guard(images.device());
  const at::Tensor dense = images.contiguous();
  at::Tensor result = at::empty({n, channels, height, width}, images.options(), at::MemoryFormat::Contiguous);

  const at::TensorOptions floats = images.options().dtype(at::kFloat);
  at::Tensor lines = at::empty({n * channels * h * width}, floats);  // given back to the stream's pool on return
  std::array<at::Tensor, 2> weights, bands;
  const auto matrix = [&](const at::Tensor& of, std::size_t i) {
    weights[i] = at::empty({of.numel()}, floats);
    bands[i] = at::empty({2, of.size(0)}, floats.dtype(at::kInt));
    return BandedMatrix{of.const_data_ptr<float>(),
                        of.size(0),
                        of.size(1),
                        of.stride(0),
                        of.stride(1),
                        weights[i].mutable_data_ptr<float>(),
                        bands[i].mutable_data_ptr<std::int32_t>()};
  };
  ResampleParams params;
  params.images = dense.const_data_ptr();
  params.result = result.mutable_data_ptr();
  params.vertical = matrix(vertical, 0);
  params.horizontal = matrix(horizontal, 1);
  params.lines = lines.mutable_data_ptr<float>();
  params.planes = n * channels;
  params.element = element_of(images.scalar_type());
  C10_CUDA_CHECK(launch_resample(params, c10::cuda::getCurrentCUDAStream()));
  return result;
}

at::Tensor styled_activate(const at::Tensor& x, const Optional& gain, const at::Tensor& bias, const Optional& noise,
                           double limit) {
  const GradientArguments arguments("styled_activate", "x", x, 4);
  const std::int64_t n = x.size(0), channels = x.size(1), h = x.size(2), w = x.size(3);
  const c10::cuda::CUDAGuard guard(x.device());
  const at::Tensor gain_here = arguments.optional_floats("gain", gain, {n, channels});
  const at::Tensor bias_here = arguments.floats("bias", bias, {channels});
  const at::Tensor noise_here = arguments.noise(noise, n, h, w);
  const at::Tensor dense = channels_last(x);
  at::Tensor y = at::empty(x.sizes(), x.options(), at::MemoryFormat::ChannelsLast);

  StyledActivateParams params;
  params.x = dense.const_data_ptr();
  params.gain = pointer(gain_here);
  params.bias = pointer(bias_here);
  params.noise = pointer(noise_here);
  params.noise_each = noise_here.defined() && noise_here.dim() == 3;
  params.y = y.mutable_data_ptr();
  params.limit = limit_in(x.scalar_type(), arguments.limit("limit", limit));
  params.pictures = n;
  params.pixels = h * w;
  params.channels = channels;
  params.element = element_of(x.scalar_type());
  C10_CUDA_CHECK(launch_styled_activate(params, c10::cuda::getCurrentCUDAStream()));
  return y;
}

/// The tensors of a backward pass: what its params point to has to live until it is launched.
struct End {
  at::Tensor gradient, y, gain, bias, noise, gain_parts, bias_parts;
  at::Tensor to_gain, to_bias, to_noise;
  StyledGradients params;
};

End end_of(const GradientArguments& arguments, const at::Tensor& gradient, const at::Tensor& y, const Optional& gain,
           const at::Tensor& bias, const Optional& noise, double limit, Wanted wanted, std::int64_t parts) {
  const std::int64_t n = y.size(0), channels = y.size(1), h = y.size(2), w = y.size(3);
  End end;
  end.gradient = channels_last(arguments.placed("gradient", gradient, y.sizes(), y.scalar_type()));
  end.y = channels_last(y);
  end.gain = arguments.optional_floats("gain", gain, {n, channels});
  end.bias = arguments.floats("bias", bias, {channels});
  end.noise = arguments.noise(noise, n, h, w);
  TORCH_CHECK_VALUE(end.gain.defined() || !wanted[1], "the gradient to a gain that is not there");
  TORCH_CHECK_VALUE(end.noise.defined() || !wanted[3], "the gradient to a noise that is not there");
  const at::TensorOptions floats = y.options().dtype(at::kFloat);
  const bool empty = y.numel() == 0;
  const auto sums = [&](at::IntArrayRef sizes) { return empty ? at::zeros(sizes, floats) : at::empty(sizes, floats); };
  if (wanted[1]) {
    end.to_gain = sums({n, channels});
    end.gain_parts = at::empty({n, parts, channels}, floats);
  }
  if (wanted[2]) {
    end.to_bias = sums({channels});
    end.bias_parts = at::empty({n, parts, channels}, floats);
  }
  if (wanted[3]) end.to_noise = sums(end.noise.sizes());
  end.params.gradient = end.gradient.const_data_ptr();
  end.params.y = end.y.const_data_ptr();
  end.params.gain = pointer(end.gain);
  end.params.bias = pointer(end.bias);
  end.params.noise = pointer(end.noise);
  end.params.noise_each = end.noise.defined() && end.noise.dim() == 3;
  end.params.limit = limit_in(y.scalar_type(), arguments.limit("limit", limit));
  end.params.to_gain = written(end.to_gain);
  end.params.to_bias = written(end.to_bias);
  end.params.to_noise = written(end.to_noise);
  end.params.gain_parts = written(end.gain_parts);
  end.params.bias_parts = written(end.bias_parts);
  end.params.pictures = n;
  end.params.pixels = h * w;
  end.params.channels = channels;
  end.params.element = element_of(y.scalar_type());
  return end;
}

Gradients styled_activate_backward(const at::Tensor& gradient, const at::Tensor& y, const Optional& gain,
                                   const at::Tensor& bias, const Optional& noise, double limit, Wanted wanted) {
  const GradientArguments arguments("styled_activate_backward", "y", y, 4);
  const c10::cuda::CUDAGuard guard(y.device());
  End end =
      end_of(arguments, gradient, y, gain, bias, noise, limit, wanted, styled_activate_parts(y.size(2) * y.size(3)));
  at::Tensor to_x;
  if (wanted[0]) to_x = at::empty(y.sizes(), y.options(), at::MemoryFormat::ChannelsLast);
  C10_CUDA_CHECK(launch_styled_activate_backward(end.params, wanted[0] ? to_x.mutable_data_ptr() : nullptr,
                                                 c10::cuda::getCurrentCUDAStream()));
  return {to_x, end.to_gain, end.to_bias, end.to_noise};
}

at::Tensor filter_styled_activate(const at::Tensor& t, const at::Tensor& filter, const Optional& gain,
                                  const at::Tensor& bias, const Optional& noise, double limit) {
  const GradientArguments arguments("filter_styled_activate", "t", t, 4);
  TORCH_CHECK_VALUE(t.size(2) > 0 && t.size(3) > 0, "filter_styled_activate: t is ", t.sizes());
  const std::int64_t n = t.size(0), channels = t.size(1), h = t.size(2) - 1, w = t.size(3) - 1;
  const c10::cuda::CUDAGuard guard(t.device());
  const at::Tensor filter_here = arguments.floats("filter", filter, {4});
  const at::Tensor gain_here = arguments.optional_floats("gain", gain, {n, channels});
  const at::Tensor bias_here = arguments.floats("bias", bias, {channels});
  const at::Tensor noise_here = arguments.noise(noise, n, h, w);
  const at::Tensor dense = channels_last(t);
  at::Tensor y = at::empty({n, channels, h, w}, t.options(), at::MemoryFormat::ChannelsLast);

  FilterStyledActivateParams params;
  params.t = dense.const_data_ptr();
  params.filter = pointer(filter_here);
  params.gain = pointer(gain_here);
  params.bias = pointer(bias_here);
  params.noise = pointer(noise_here);
  params.noise_each = noise_here.defined() && noise_here.dim() == 3;
  params.y = y.mutable_data_ptr();
  params.limit = limit_in(t.scalar_type(), arguments.limit("limit", limit));
  params.pictures = n;
  params.height = h;
  params.width = w;
  params.channels = channels;
  params.element = element_of(t.scalar_type());
  C10_CUDA_CHECK(launch_filter_styled_activate(params, c10::cuda::getCurrentCUDAStream()));
  return y;
}

Gradients filter_styled_activate_backward(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& filter,
                                          const Optional& gain, const at::Tensor& bias, const Optional& noise,
                                          double limit, Wanted wanted) {
  const GradientArguments arguments("filter_styled_activate_backward", "y", y, 4);
  const std::int64_t n = y.size(0), channels = y.size(1), h = y.size(2), w = y.size(3);
  const c10::cuda::CUDAGuard guard(y.device());
  const at::Tensor filter_here = arguments.floats("filter", filter, {4});
  End end =
      end_of(arguments, gradient, y, gain, bias, noise, limit, wanted, filter_styled_activate_parts(h, w, channels));
  at::Tensor to_t;
  if (wanted[0]) to_t = at::empty({n, channels, h + 1, w + 1}, y.options(), at::MemoryFormat::ChannelsLast);
  if (wanted[0] && y.numel() == 0) to_t.zero_();
  FilterStyledGradients params;
  params.end = end.params;
  params.filter = pointer(filter_here);
  params.to_t = wanted[0] ? to_t.mutable_data_ptr() : nullptr;
  params.height = h;
  params.width = w;
  C10_CUDA_CHECK(launch_filter_styled_activate_backward(params, c10::cuda::getCurrentCUDAStream()));
  return {to_t, end.to_gain, end.to_bias, end.to_noise};
}

LossAndGradients edit_loss_gradients(const at::Tensor& embedding, const at::Tensor& text, const at::Tensor& latents,
                                     const at::Tensor& source, const Optional& identity,
                                     const Optional& source_identity, double lambda_clip, double lambda_l2,
                                     double lambda_id, bool mean, std::array<bool, 3> wanted) {
  const GradientArguments arguments("edit_loss", "embedding", embedding, 2);
  const std::int64_t n = embedding.size(0), dim = embedding.size(1);
  const bool each = text.dim() == 3, has_identity = identity && identity->defined();
  TORCH_CHECK_VALUE(text.dim() == 2 || each, "edit_loss: text is ", text.sizes());
  TORCH_CHECK_VALUE(latents.dim() >= 2 && latents.size(0) == n, "edit_loss: latents are ", latents.sizes());
  TORCH_CHECK_VALUE(!has_identity || (identity->dim() == 2 && source_identity), "edit_loss: half an identity");
  const c10::cuda::CUDAGuard guard(embedding.device());
  const std::int64_t texts = text.size(-2), faces = has_identity ? identity->size(1) : 0;
  const at::Tensor e = arguments.floats("embedding", embedding, {n, dim});
  const at::Tensor t =
      each ? arguments.floats("text", text, {n, texts, dim}) : arguments.floats("text", text, {texts, dim});
  const at::Tensor w = arguments.floats("latents", latents, latents.sizes());
  const at::Tensor s = arguments.floats("source", source, latents.sizes());
  const at::Tensor i = arguments.optional_floats("identity", identity, {n, faces});
  const at::Tensor j = has_identity ? arguments.floats("source_identity", *source_identity, {n, faces}) : at::Tensor();

  at::Tensor total = at::empty({n}, e.options()), parts = at::empty({n, 3}, e.options());
  at::Tensor aims = at::empty({each ? n : 1, dim}, e.options().dtype(at::kDouble));
  at::Tensor face_aims = at::empty({n, faces}, aims.options());
  const auto like = [](const at::Tensor& tensor, bool is_wanted) {
    return is_wanted && tensor.defined() ? at::empty(tensor.sizes(), tensor.options(), at::MemoryFormat::Contiguous)
                                         : at::Tensor();
  };
  at::Tensor to_embedding = like(e, wanted[0]), to_latents = like(w, wanted[1]), to_identity = like(i, wanted[2]);
  EditLossParams params;
  params.embedding = pointer(e);
  params.text = pointer(t);
  params.latents = pointer(w);
  params.source = pointer(s);
  params.identity = pointer(i);
  params.source_identity = pointer(j);
  params.text_each = each;
  params.lambda_clip = lambda_clip;
  params.lambda_l2 = lambda_l2;
  params.lambda_id = lambda_id;
  params.n = n;
  params.dim = dim;
  params.texts = texts;
  params.numbers = n == 0 ? 1 : w.numel() / n;
  params.faces = faces;
  params.share = mean ? 1 / static_cast<double>(params.numbers) : 1;
  params.aims = aims.mutable_data_ptr<double>();
  params.face_aims = face_aims.mutable_data_ptr<double>();
  params.total = written(total);
  params.parts = written(parts);
  params.to_embedding = written(to_embedding);
  params.to_latents = written(to_latents);
  params.to_identity = written(to_identity);
  C10_CUDA_CHECK(launch_edit_loss(params, c10::cuda::getCurrentCUDAStream()));
  return {total, parts, to_embedding, to_latents, to_identity};
}

std::tuple<at::Tensor, at::Tensor> edit_loss(const at::Tensor& embedding, const at::Tensor& text,
                                             const at::Tensor& latents, const at::Tensor& source,
                                             const Optional& identity, const Optional& source_identity,
                                             double lambda_clip, double lambda_l2, double lambda_id, bool mean) {
  const LossAndGradients all = edit_loss_gradients(embedding, text, latents, source, identity, source_identity,
                                                   lambda_clip, lambda_l2, lambda_id, mean, {false, false, false});
  return {std::get<0>(all), std::get<1>(all)};
}

}  // namespace
}  // namespace styleclip::cuda

TORCH_LIBRARY_IMPL(styleclip, CUDA, library) {
  library.impl("resample", &styleclip::cuda::resample);
  library.impl("styled_activate", &styleclip::cuda::styled_activate);
  library.impl("styled_activate_backward", &styleclip::cuda::styled_activate_backward);
  library.impl("filter_styled_activate", &styleclip::cuda::filter_styled_activate);
  library.impl("filter_styled_activate_backward", &styleclip::cuda::filter_styled_activate_backward);
  library.impl("edit_loss", &styleclip::cuda::edit_loss);
  library.impl("edit_loss_gradients", &styleclip::cuda::edit_loss_gradients);
}
