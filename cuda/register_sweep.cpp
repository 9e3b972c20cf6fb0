// The kernels of the exact sweep as implementations of its operators on CUDA tensors; see register.cpp for the rule. The
// outputs must have the layouts of styleclip/ops.h: they are large and written in place, so nothing is copied back.
#include <ATen/core/Tensor.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "activate.h"
#include "add_to_canvas.h"
#include "arguments.h"
#include "clip_input.h"
#include "convolve_to_canvas.h"
#include "filter_activate.h"
#include "perturb_channels.h"

namespace styleclip::cuda {
namespace {

/// What the sweep's operators have besides: large tensors that are written in place.
class SweepArguments : public Arguments {
 public:
  using Arguments::Arguments;

  void activations(const char* name, const at::Tensor& y) const {
    TORCH_CHECK_VALUE(y.dim() == 4 && y.size(2) == y.size(3), op(), ": ", name, " is ", y.sizes(),
                      ", not [n, channels, r, r]");
    element(name, y);
    channels_last(name, y);
  }
  void channels_last(const char* name, const at::Tensor& tensor) const {
    TORCH_CHECK_VALUE(tensor.is_contiguous(at::MemoryFormat::ChannelsLast), op(), ": ", name,
                      " does not lie channels last without gaps");
  }
  /// float32 of this shape, as it lies.
  void written_floats(const char* name, const at::Tensor& tensor, at::IntArrayRef sizes) const {
    placed(name, tensor, sizes, at::kFloat);
    TORCH_CHECK_VALUE(tensor.is_contiguous(), op(), ": ", name, " has gaps or another order in memory");
  }
};

void perturb_channels(const at::Tensor& planes, const at::Tensor& taps, const at::Tensor& linear,
                      const at::Tensor& steps, const at::Tensor& gains, const at::Tensor& bias, const Optional& noise,
                      double limit, at::Tensor& y) {
  const SweepArguments arguments("perturb_channels", y);
  arguments.activations("y", y);
  TORCH_CHECK_VALUE(y.size(0) % 2 == 0, "perturb_channels: y has an odd number of pictures");
  const std::int64_t count = y.size(0) / 2, channels = y.size(1), side = y.size(2);
  const c10::cuda::CUDAGuard guard(y.device());
  const at::Tensor planes_here = arguments.floats("planes", planes, {count, side + 2, side + 2});
  const at::Tensor taps_here = arguments.floats("taps", taps, {count, 9, channels});
  const at::Tensor linear_here = arguments.floats("linear", linear, {side * side, channels});
  const at::Tensor steps_here = arguments.floats("steps", steps, {2, count});
  const at::Tensor gains_here = arguments.floats("gains", gains, {2, count, channels});
  const at::Tensor bias_here = arguments.floats("bias", bias, {channels});
  const at::Tensor noise_here = arguments.optional_floats("noise", noise, {side, side});

  PerturbChannelsParams params;
  params.planes = pointer(planes_here);
  params.taps = pointer(taps_here);
  params.linear = pointer(linear_here);
  params.steps = pointer(steps_here);
  params.gains = pointer(gains_here);
  params.bias = pointer(bias_here);
  params.noise = pointer(noise_here);
  params.y = y.mutable_data_ptr();
  params.limit = arguments.limit("limit", limit);
  params.count = count;
  params.channels = channels;
  params.side = side;
  params.element = element_of(y.scalar_type());
  C10_CUDA_CHECK(launch_perturb_channels(params, c10::cuda::getCurrentCUDAStream()));
}

void activate(at::Tensor& y, const at::Tensor& bias, const Optional& noise, double limit) {
  const SweepArguments arguments("activate", y);
  arguments.activations("y", y);
  const c10::cuda::CUDAGuard guard(y.device());
  const at::Tensor bias_here = arguments.floats("bias", bias, {y.size(1)});
  const at::Tensor noise_here = arguments.optional_floats("noise", noise, {y.size(2), y.size(2)});

  ActivateParams params;
  params.y = y.mutable_data_ptr();
  params.bias = pointer(bias_here);
  params.noise = pointer(noise_here);
  params.limit = arguments.limit("limit", limit);
  params.pictures = y.size(0);
  params.pixels = y.size(2) * y.size(2);
  params.channels = y.size(1);
  params.element = element_of(y.scalar_type());
  C10_CUDA_CHECK(launch_activate(params, c10::cuda::getCurrentCUDAStream()));
}

void filter_activate(const at::Tensor& t, const at::Tensor& filter, const at::Tensor& bias, const Optional& noise,
                     double limit, at::Tensor& y) {
  const SweepArguments arguments("filter_activate", y);
  arguments.activations("y", y);
  arguments.activations("t", t);
  const std::int64_t side = y.size(2);
  TORCH_CHECK_VALUE(t.size(0) == y.size(0) && t.size(1) == y.size(1) && t.size(2) == side + 1, "filter_activate: t is ",
                    t.sizes(), ", y ", y.sizes());
  TORCH_CHECK_TYPE(t.scalar_type() == y.scalar_type(), "filter_activate: t is ", t.scalar_type(), ", y ",
                   y.scalar_type());
  TORCH_CHECK_VALUE(!t.is_alias_of(y), "filter_activate: t and y share memory");
  const c10::cuda::CUDAGuard guard(y.device());
  const at::Tensor filter_here = arguments.floats("filter", filter, {4});
  const at::Tensor bias_here = arguments.floats("bias", bias, {y.size(1)});
  const at::Tensor noise_here = arguments.optional_floats("noise", noise, {side, side});

  FilterActivateParams params;
  params.t = t.const_data_ptr();
  params.filter = pointer(filter_here);
  params.bias = pointer(bias_here);
  params.noise = pointer(noise_here);
  params.y = y.mutable_data_ptr();
  params.limit = arguments.limit("limit", limit);
  params.pictures = y.size(0);
  params.side = side;
  params.channels = y.size(1);
  params.element = element_of(y.scalar_type());
  C10_CUDA_CHECK(launch_filter_activate(params, c10::cuda::getCurrentCUDAStream()));
}

/// Scratch memory of an operator that adds to a canvas, given back to the stream's pool when this is gone.
class CanvasMemory {
 public:
  template <typename Params>
  void lend(Params& params, std::int64_t pictures, std::int64_t side, std::int64_t size,
            const at::TensorOptions& options) {
    const CanvasScratch scratch = canvas_scratch(pictures, side, size);
    const at::TensorOptions floats = options.dtype(at::kFloat);
    lines_ = at::empty({scratch.lines}, floats);
    band_weights_ = at::empty({scratch.band_weights}, floats);
    band_rows_ = at::empty({scratch.band_rows}, floats.dtype(at::kInt));
    params.lines = lines_.mutable_data_ptr<float>();
    params.band_weights = band_weights_.mutable_data_ptr<float>();
    params.band_rows = band_rows_.mutable_data_ptr<std::int32_t>();
  }

 private:
  at::Tensor lines_, band_weights_, band_rows_;
};

/// What both ways onto the canvas share: `params` holds y's pointer and, of a layer's end, everything.
void to_canvas(const SweepArguments& arguments, AddToCanvasParams params, const at::Tensor& y, const at::Tensor& weight,
               const at::Tensor& rgb_bias, double rgb_limit, const Optional& matrix, at::Tensor& canvas) {
  const std::int64_t pictures = y.size(0), channels = y.size(1), side = y.size(2);
  const bool resamples = matrix && matrix->defined();
  TORCH_CHECK_VALUE(!resamples || matrix->dim() == 2, "matrix is not [size, r]");
  const std::int64_t size = resamples ? matrix->size(0) : side;
  const at::Tensor weight_here = arguments.floats("weight", weight, {3, channels});
  const at::Tensor rgb_bias_here = arguments.floats("rgb_bias", rgb_bias, {3});
  const at::Tensor matrix_here = arguments.optional_floats("matrix", matrix, {size, side});
  arguments.written_floats("canvas", canvas, {pictures, 3, size, size});

  CanvasMemory memory;
  if (resamples) memory.lend(params, pictures, side, size, y.options());
  params.weight = pointer(weight_here);
  params.rgb_bias = pointer(rgb_bias_here);
  params.matrix = pointer(matrix_here);
  params.canvas = canvas.mutable_data_ptr<float>();
  params.rgb_limit = arguments.limit("rgb_limit", rgb_limit);
  params.pictures = pictures;
  params.side = side;
  params.channels = channels;
  params.size = size;
  params.element = element_of(y.scalar_type());
  C10_CUDA_CHECK(launch_add_to_canvas(params, c10::cuda::getCurrentCUDAStream()));
}

void add_to_canvas(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                   const Optional& matrix, at::Tensor& canvas) {
  const SweepArguments arguments("add_to_canvas", y);
  arguments.activations("y", y);
  const c10::cuda::CUDAGuard guard(y.device());
  AddToCanvasParams params;
  params.y = const_cast<void*>(y.const_data_ptr());  // read only, without `activates`
  to_canvas(arguments, params, y, weight, rgb_bias, rgb_limit, matrix, canvas);
}

void activate_to_canvas(at::Tensor& y, const at::Tensor& bias, const Optional& noise, double limit,
                        const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit, const Optional& matrix,
                        at::Tensor& canvas, bool keep) {
  const SweepArguments arguments("activate_to_canvas", y);
  arguments.activations("y", y);
  const c10::cuda::CUDAGuard guard(y.device());
  const at::Tensor bias_here = arguments.floats("bias", bias, {y.size(1)});
  const at::Tensor noise_here = arguments.optional_floats("noise", noise, {y.size(2), y.size(2)});
  AddToCanvasParams params;
  params.y = y.mutable_data_ptr();
  params.activates = true;
  params.keep = keep;
  params.bias = pointer(bias_here);
  params.noise = pointer(noise_here);
  params.limit = arguments.limit("limit", limit);
  to_canvas(arguments, params, y, weight, rgb_bias, rgb_limit, matrix, canvas);
}

void convolve_to_canvas(const at::Tensor& x, const at::Tensor& kernel, const at::Tensor& bias, const Optional& noise,
                        double limit, const at::Tensor& weight, const at::Tensor& rgb_bias, double rgb_limit,
                        const Optional& matrix, at::Tensor& canvas, const Optional& y) {
  const SweepArguments arguments("convolve_to_canvas", x);
  arguments.activations("x", x);
  TORCH_CHECK_VALUE(kernel.dim() == 4, "convolve_to_canvas: kernel is ", kernel.sizes());
  const std::int64_t pictures = x.size(0), inputs = x.size(1), side = x.size(2), outputs = kernel.size(0);
  const auto takes = [](std::int64_t channels) { return channels > 0 && channels <= 64 && channels % 16 == 0; };
  TORCH_CHECK_TYPE(x.scalar_type() != at::kFloat, "convolve_to_canvas: x is ", x.scalar_type());
  TORCH_CHECK_VALUE(takes(inputs) && takes(outputs), "convolve_to_canvas: ", inputs, " inputs and ", outputs,
                    " outputs; the operator takes 16, 32, 48 and 64");
  const bool resamples = matrix && matrix->defined(), keeps = y && y->defined();
  TORCH_CHECK_VALUE(!keeps || !y->is_alias_of(x), "convolve_to_canvas: x and y share memory");
  TORCH_CHECK_VALUE(!resamples || matrix->dim() == 2, "convolve_to_canvas: matrix is not [size, r]");
  const std::int64_t size = resamples ? matrix->size(0) : side;
  const c10::cuda::CUDAGuard guard(x.device());
  arguments.channels_last("kernel", arguments.placed("kernel", kernel, {outputs, inputs, 3, 3}, x.scalar_type()));
  if (keeps) arguments.channels_last("y", arguments.placed("y", *y, {pictures, outputs, side, side}, x.scalar_type()));
  const at::Tensor bias_here = arguments.floats("bias", bias, {outputs});
  const at::Tensor noise_here = arguments.optional_floats("noise", noise, {side, side});
  const at::Tensor weight_here = arguments.floats("weight", weight, {3, outputs});
  const at::Tensor rgb_bias_here = arguments.floats("rgb_bias", rgb_bias, {3});
  const at::Tensor matrix_here = arguments.optional_floats("matrix", matrix, {size, side});
  arguments.written_floats("canvas", canvas, {pictures, 3, size, size});

  ConvolveToCanvasParams params;
  CanvasMemory memory;
  if (resamples) memory.lend(params, pictures, side, size, x.options());
  params.x = x.const_data_ptr();
  params.weight = kernel.const_data_ptr();
  params.y = keeps ? y->mutable_data_ptr() : nullptr;
  params.bias = pointer(bias_here);
  params.noise = pointer(noise_here);
  params.limit = arguments.limit("limit", limit);
  params.rgb_weight = pointer(weight_here);
  params.rgb_bias = pointer(rgb_bias_here);
  params.rgb_limit = arguments.limit("rgb_limit", rgb_limit);
  params.matrix = pointer(matrix_here);
  params.canvas = canvas.mutable_data_ptr<float>();
  params.pictures = pictures;
  params.side = side;
  params.size = size;
  params.inputs = inputs;
  params.outputs = outputs;
  params.element = element_of(x.scalar_type());
  const cudaError_t error = launch_convolve_to_canvas(params, c10::cuda::getCurrentCUDAStream());
  if (error != cudaErrorNotSupported) {
    C10_CUDA_CHECK(error);
    return;
  }
  // A device without the instructions: libtorch's convolution, and the rest in a pass of its own.
  at::Tensor active = at::conv2d(x, kernel, {}, 1, 1).contiguous(at::MemoryFormat::ChannelsLast);
  activate_to_canvas(active, bias, noise, limit, weight, rgb_bias, rgb_limit, matrix, canvas, keeps);
  if (keeps) y->copy_(active);
}

void clip_input(const at::Tensor& canvas, const at::Tensor& mean, const at::Tensor& deviation, std::int64_t patch,
                at::Tensor& out) {
  const SweepArguments arguments("clip_input", canvas);
  TORCH_CHECK_VALUE(canvas.dim() == 4, "clip_input: canvas is ", canvas.sizes(), ", not [n, 3, size, size]");
  const std::int64_t pictures = canvas.size(0), size = canvas.size(2);
  TORCH_CHECK_VALUE(patch >= 0 && (patch == 0 || size % patch == 0), "clip_input: size ", size,
                    " is not a multiple of patch ", patch);
  const c10::cuda::CUDAGuard guard(canvas.device());
  const at::Tensor canvas_here = arguments.floats("canvas", canvas, {pictures, 3, size, size});
  const at::Tensor mean_here = arguments.floats("mean", mean, {3});
  const at::Tensor deviation_here = arguments.floats("deviation", deviation, {3});
  arguments.element("out", out);
  const std::int64_t across = patch > 0 ? size / patch : 0;
  const bool fits = patch > 0 ? out.sizes() == at::IntArrayRef{pictures, across * across, 3 * patch * patch}
                              : out.sizes() == canvas.sizes();
  TORCH_CHECK_VALUE(fits, "clip_input: out is ", out.sizes(), " of a canvas of ", canvas.sizes());
  TORCH_CHECK_VALUE(out.is_contiguous(), "clip_input: out has gaps or another order in memory");

  ClipInputParams params;
  params.canvas = pointer(canvas_here);
  params.mean = pointer(mean_here);
  params.deviation = pointer(deviation_here);
  params.out = out.mutable_data_ptr();
  params.pictures = pictures;
  params.size = size;
  params.patch = patch > 0 ? patch : size;
  params.element = element_of(out.scalar_type());
  C10_CUDA_CHECK(launch_clip_input(params, c10::cuda::getCurrentCUDAStream()));
}

}  // namespace
}  // namespace styleclip::cuda

TORCH_LIBRARY_IMPL(styleclip, CUDA, library) {
  library.impl("perturb_channels", &styleclip::cuda::perturb_channels);
  library.impl("activate", &styleclip::cuda::activate);
  library.impl("filter_activate", &styleclip::cuda::filter_activate);
  library.impl("add_to_canvas", &styleclip::cuda::add_to_canvas);
  library.impl("activate_to_canvas", &styleclip::cuda::activate_to_canvas);
  library.impl("convolve_to_canvas", &styleclip::cuda::convolve_to_canvas);
  library.impl("clip_input", &styleclip::cuda::clip_input);
}
