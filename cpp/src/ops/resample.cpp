// The readable implementation of resample, the check that all of them share, and the call of the operator.
#include "ops/resample.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/matmul.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/differentiable.h"
#include "ops/registry.h"
#include "styleclip/ops.h"

namespace styleclip {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor below_autograd(const at::Tensor& images, const at::Tensor& vertical, const at::Tensor& horizontal) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  if (runs_reference(kResample, images)) return resample_reference(images, vertical, horizontal);
  static const auto op = find_operator(kResample).typed<ResampleSignature>();
  return op.call(images, vertical, horizontal);
}

struct ResampleNode : torch::autograd::Function<ResampleNode> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& images, const at::Tensor& vertical,
                            const at::Tensor& horizontal) {
    context->save_for_backward({vertical, horizontal});
    return below_autograd(images, vertical, horizontal);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    return {resample(gradients[0], saved[0].t(), saved[1].t()), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

void check_resample(const at::Tensor& images, const at::Tensor& vertical, const at::Tensor& horizontal) {
  DifferentiableArguments arguments(kResample);
  arguments.first("images", images, 4, "[n, c, h, w]");
  if (!vertical.defined() || vertical.dim() != 2) arguments.refuse_shape("vertical is not [H, h].");
  if (!horizontal.defined() || horizontal.dim() != 2) arguments.refuse_shape("horizontal is not [W, w].");
  arguments.companion("vertical", vertical, {vertical.size(0), images.size(2)});
  arguments.companion("horizontal", horizontal, {horizontal.size(0), images.size(3)});
}

at::Tensor resample_reference(const at::Tensor& images, const at::Tensor& vertical, const at::Tensor& horizontal) {
  check_resample(images, vertical, horizontal);
  const at::Tensor lines = at::matmul(vertical.to(at::kDouble), images.to(at::kDouble));
  return at::matmul(lines, horizontal.to(at::kDouble).t()).to(images.scalar_type()).contiguous();
}

at::Tensor resample(const at::Tensor& images, const at::Tensor& vertical, const at::Tensor& horizontal) {
  check_resample(images, vertical, horizontal);
  DifferentiableArguments::constant(kResample, "vertical", vertical);
  DifferentiableArguments::constant(kResample, "horizontal", horizontal);
  if (records_gradient({&images})) return ResampleNode::apply(images, vertical, horizontal);
  return below_autograd(images, vertical, horizontal);
}

}  // namespace styleclip
