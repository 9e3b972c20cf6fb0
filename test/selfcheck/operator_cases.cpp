#include "operator_cases.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <sstream>

#include "accumulate_directions_cases.h"
#include "running.h"
#include "styleclip/error.h"
#include "styleclip/ops.h"

namespace styleclip::selfcheck {
namespace {

using cases::Case;

constexpr char kOp[] = "accumulate_directions";

/// [channels, images, dim] in the case's layout, NaN in the memory between.
at::Tensor lay_out(const Case& which, const std::vector<float>& values, bool minus, c10::Device device) {
  const cases::Strides strides = cases::strides(which, minus);
  const at::Tensor rows = at::tensor(values).view({which.channels, which.images, which.dim});
  const at::Tensor memory = at::full({strides.elements}, std::numeric_limits<double>::quiet_NaN(),
                                     at::TensorOptions().dtype(scalar_type(which.type)));
  // One image where all share a row: a tensor that overlaps itself cannot be written.
  const std::int64_t written = strides.image == 0 ? std::min<std::int64_t>(which.images, 1) : which.images;
  memory.as_strided({which.channels, written, which.dim}, {strides.channel, strides.image, 1}, strides.offset)
      .copy_(rows.slice(1, 0, written));
  return memory.to(device).as_strided({which.channels, which.images, which.dim}, {strides.channel, strides.image, 1},
                                      strides.offset);
}

template <typename T>
std::vector<T> to_vector(const at::Tensor& tensor) {
  const at::Tensor here = tensor.to(at::kCPU).contiguous();
  const T* data = here.const_data_ptr<T>();
  return {data, data + here.numel()};
}

std::string run_case(const Case& which, c10::Device device) {
  const cases::Inputs inputs = cases::make_inputs(which, 7);
  const at::Tensor plus = lay_out(which, inputs.plus, false, device);
  const at::Tensor minus = lay_out(which, inputs.minus, true, device);
  at::Tensor sum = at::tensor(inputs.sum, at::kDouble).view({which.channels, which.dim}).to(device);
  at::Tensor magnitude = at::tensor(inputs.magnitude, at::kDouble).to(device);
  at::Tensor count = at::tensor(inputs.count, at::kLong).to(device);
  accumulate_directions(plus, minus, sum, magnitude, count);
  const cases::Results results{to_vector<double>(sum), to_vector<double>(magnitude), to_vector<std::int64_t>(count)};
  return cases::compare(which, inputs, results, 0x1p-53);  // every implementation computes in float64
}

struct Sums {
  Sums(std::int64_t channels, std::int64_t dim, c10::Device device)
      : sum(at::zeros({channels, dim}, at::TensorOptions(device).dtype(at::kDouble))),
        magnitude(at::zeros({channels}, at::TensorOptions(device).dtype(at::kDouble))),
        count(at::zeros({channels}, at::TensorOptions(device).dtype(at::kLong))) {}
  void add(const at::Tensor& plus, const at::Tensor& minus) {
    accumulate_directions(plus, minus, sum, magnitude, count);
  }
  at::Tensor sum, magnitude, count;
};

/// Correct first: a fast wrong answer is not timed.
void require_correct(const at::Tensor& plus, const at::Tensor& minus, const std::string& implementation) {
  Sums expected(plus.size(0), plus.size(2), plus.device());
  Sums got(plus.size(0), plus.size(2), plus.device());
  {
    const Forced reference(kOp, "reference");
    expected.add(plus, minus);
  }
  const Forced forced(kOp, implementation);
  got.add(plus, minus);
  const double error = (got.sum - expected.sum).abs().max().item<double>();
  // |d| is above 1e-2 here, so a unit difference keeps 1e-12 (see compare()), and 100 of them 1e-10.
  if (!(error < 1e-10) || !at::equal(got.count, expected.count)) {
    throw Error(ErrorCode::Internal, implementation + " differs from the reference by " + std::to_string(error),
                "Report this, with the device and the libtorch version.");
  }
}

}  // namespace

Outcome run_accumulate_directions(const std::string& implementation, c10::Device device) {
  return run_cases<Case>(kOp, implementation, device, cases::all_cases(),
                         [&](const Case& which) { return run_case(which, device); });
}

std::vector<Timing> time_accumulate_directions(const std::string& implementation, c10::Device device) {
  struct Size {
    std::int64_t channels, images, dim;
  };
  const bool small = device.is_cpu();
  const std::vector<Size> sizes =
      small ? std::vector<Size>{{64, 20, 512}} : std::vector<Size>{{4096, 100, 512}, {4096, 1, 512}, {2048, 100, 1024}};
  std::vector<Timing> timings;
  for (const Size& size : sizes) {
    for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const at::TensorOptions options = at::TensorOptions(device).dtype(at::kFloat);
      const at::Tensor base = at::randn({size.channels, size.images, size.dim}, options);
      const at::Tensor plus = (base + 0.1 * at::randn_like(base)).to(type);
      const at::Tensor minus = base.to(type);
      const std::int64_t checked = std::min<std::int64_t>(size.channels, 64);
      require_correct(plus.slice(0, 0, checked), minus.slice(0, 0, checked), implementation);

      const Forced forced(kOp, implementation);
      Sums sums(size.channels, size.dim, device);
      const double milliseconds = median_milliseconds(device, [&] { sums.add(plus, minus); });
      std::ostringstream shape;
      shape << "[" << size.channels << ", " << size.images << ", " << size.dim << "]";
      const double bytes = 2.0 * static_cast<double>(plus.numel()) * static_cast<double>(plus.element_size());
      timings.push_back({kOp, implementation, device.str(), shape.str(), c10::toString(type), milliseconds, bytes});
    }
  }
  return timings;
}

}  // namespace styleclip::selfcheck
