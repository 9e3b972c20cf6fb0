// The kernels of the operators with gradients (cuda/{resample,styled_activate,filter_styled_activate,styled_sums,
// edit_loss}.cu) on the CPU, forwards and backwards, over the table of cases: every case must lie within the bounds of the
// reference and, under several seeds, give the same bits each time.
#include "gradient_tests.h"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "checks.h"
#include "cuda_host.h"
#include "edit_loss.h"
#include "filter_styled_activate.h"
#include "gradient_cases.h"
#include "resample.h"
#include "styled_activate.h"
#include "typed_memory.h"

namespace styleclip::checks {
namespace {

using namespace cases::gradients;
using cases::Type;

/// A number of float32 or double that nothing was written to is NaN.
std::vector<float> floats(std::int64_t count) {
  return std::vector<float>(static_cast<std::size_t>(count), std::numeric_limits<float>::quiet_NaN());
}
float* writable(std::vector<float>& values) { return values.empty() ? nullptr : values.data(); }

template <typename T>
class Launcher {
 public:
  Launcher(const Case& which, const Inputs& in, std::int64_t offset, Results& results)
      : which_(which), in_(in), offset_(offset), results_(results) {}

  cudaError_t layer() {
    const bool filters = which_.op == Op::kFilterStyledActivate;
    const std::int64_t pixels = which_.h * which_.w, n = which_.n, channels = which_.channels;
    Memory<T> x(in_.x, offset_), y(n * pixels * channels, offset_), gradient(in_.gradient, offset_),
        to_x(static_cast<std::int64_t>(in_.x.size()), offset_);
    const bool each = which_.noise == Noise::kEach;
    const auto limit = static_cast<float>(in_.limit);
    cudaError_t error = cudaSuccess;
    if (filters) {
      error = cuda::launch_filter_styled_activate(
          {x.data(), pointer(in_.filter), pointer(in_.gain), pointer(in_.bias), pointer(in_.noise), each, y.data(),
           limit, n, which_.h, which_.w, channels, kElement<T>},
          nullptr);
    } else {
      error = cuda::launch_styled_activate({x.data(), pointer(in_.gain), pointer(in_.bias), pointer(in_.noise), each,
                                            y.data(), limit, n, pixels, channels, kElement<T>},
                                           nullptr);
    }
    results_.y = y.values();
    if (error != cudaSuccess) return error;

    const bool empty = n * pixels * channels == 0;  // then the caller zeroes the sums
    const auto sums = [&](std::size_t count) {
      return empty ? std::vector<float>(count, 0.0F) : floats(static_cast<std::int64_t>(count));
    };
    results_.to_gain = sums(in_.gain.size());
    results_.to_bias = sums(in_.bias.size());
    results_.to_noise = sums(in_.noise.size());
    const std::int64_t parts = filters ? cuda::filter_styled_activate_parts(which_.h, which_.w, channels)
                                       : cuda::styled_activate_parts(pixels);
    std::vector<float> gain_parts = floats(n * parts * channels), bias_parts = floats(n * parts * channels);
    cuda::StyledGradients end;
    end.gradient = gradient.data();
    end.y = y.data();
    end.gain = pointer(in_.gain);
    end.bias = pointer(in_.bias);
    end.noise = pointer(in_.noise);
    end.noise_each = each;
    end.limit = limit;
    end.to_gain = writable(results_.to_gain);
    end.to_bias = writable(results_.to_bias);
    end.to_noise = writable(results_.to_noise);
    end.gain_parts = writable(gain_parts);
    end.bias_parts = writable(bias_parts);
    end.pictures = n;
    end.pixels = pixels;
    end.channels = channels;
    end.element = kElement<T>;
    error = filters ? cuda::launch_filter_styled_activate_backward(
                          {end, pointer(in_.filter), to_x.data(), which_.h, which_.w}, nullptr)
                    : cuda::launch_styled_activate_backward(end, to_x.data(), nullptr);
    results_.to_x = to_x.values();
    if (empty) results_.to_x.assign(results_.to_x.size(), 0.0F);  // as above
    return error;
  }

  cudaError_t resample() {
    const std::int64_t planes = which_.n * which_.channels;
    Memory<T> x(in_.x, offset_), y(planes * which_.to_h * which_.to_w, offset_), gradient(in_.gradient, offset_),
        to_x(static_cast<std::int64_t>(in_.x.size()), offset_);
    const std::vector<float> vertical = turned(in_.vertical, which_.to_h, which_.h),
                             horizontal = turned(in_.horizontal, which_.to_w, which_.w);
    const auto run = [&](const void* from, void* to, bool backwards) {
      std::vector<float> lines = floats(planes * (backwards ? which_.to_h * which_.w : which_.h * which_.to_w));
      std::vector<float> weights[2] = {floats(which_.h * which_.to_h), floats(which_.w * which_.to_w)};
      std::vector<std::int32_t> bands[2];
      cuda::ResampleParams params;
      params.images = from;
      params.result = to;
      const auto matrix = [&](const std::vector<float>& of, std::int64_t rows, std::int64_t columns, int i) {
        cuda::BandedMatrix result{
            pointer(of),          rows,   columns, which_.transposed ? 1 : columns, which_.transposed ? rows : 1,
            writable(weights[i]), nullptr};
        if (backwards) {
          std::swap(result.to, result.from);
          std::swap(result.row_stride, result.column_stride);
        }
        bands[i].assign(static_cast<std::size_t>(2 * result.to), -1);
        result.bands = bands[i].data();
        return result;
      };
      params.vertical = matrix(vertical, which_.to_h, which_.h, 0);
      params.horizontal = matrix(horizontal, which_.to_w, which_.w, 1);
      params.lines = writable(lines);
      params.planes = planes;
      params.element = kElement<T>;
      return cuda::launch_resample(params, nullptr);
    };
    cudaError_t error = run(x.data(), y.data(), false);
    if (error == cudaSuccess) error = run(gradient.data(), to_x.data(), true);
    results_.y = y.values();
    results_.to_x = to_x.values();
    return error;
  }

 private:
  std::vector<float> turned(const std::vector<float>& matrix, std::int64_t rows, std::int64_t columns) const {
    if (!which_.transposed) return matrix;
    std::vector<float> result(matrix.size());
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t column = 0; column < columns; ++column) {
        result[static_cast<std::size_t>(column * rows + row)] =
            matrix[static_cast<std::size_t>(row * columns + column)];
      }
    }
    return result;
  }

  const Case& which_;
  const Inputs& in_;
  std::int64_t offset_;
  Results& results_;
};

cudaError_t launch_loss(const Case& which, const Inputs& in, Results& results) {
  const std::int64_t n = which.n, dim = which.channels, numbers = which.h * which.w;
  std::vector<double> aims(static_cast<std::size_t>((which.text_each ? n : 1) * dim), std::nan("")),
      face_aims(static_cast<std::size_t>(n * which.faces), std::nan(""));
  results.total = floats(n);
  results.parts = floats(3 * n);
  results.to_embedding = floats(n * dim);
  results.to_latents = floats(n * numbers);
  results.to_identity = floats(n * which.faces);
  cuda::EditLossParams params;
  params.embedding = pointer(in.embedding);
  params.text = pointer(in.text);
  params.latents = pointer(in.latents);
  params.source = pointer(in.source);
  params.identity = pointer(in.identity);
  params.source_identity = pointer(in.source_identity);
  params.text_each = which.text_each;
  params.lambda_clip = in.lambda_clip;
  params.lambda_l2 = in.lambda_l2;
  params.lambda_id = in.lambda_id;
  params.share = which.mean ? 1 / static_cast<double>(numbers) : 1;
  params.aims = aims.data();
  params.face_aims = face_aims.data();
  params.total = writable(results.total);
  params.parts = writable(results.parts);
  params.to_embedding = writable(results.to_embedding);
  params.to_latents = writable(results.to_latents);
  params.to_identity = writable(results.to_identity);
  params.n = n;
  params.dim = dim;
  params.texts = which.texts;
  params.numbers = numbers;
  params.faces = which.faces;
  return cuda::launch_edit_loss(params, nullptr);
}

template <typename T>
cudaError_t launch(const Case& which, const Inputs& in, std::int64_t offset, Results& results) {
  Launcher<T> launcher(which, in, offset, results);
  return which.op == Op::kResample ? launcher.resample() : launcher.layer();
}

cudaError_t launch(const Case& which, const Inputs& in, std::int64_t offset, Results& results) {
  if (which.op == Op::kEditLoss) return launch_loss(which, in, results);
  switch (which.type) {
    case Type::kFloat32: return launch<float>(which, in, offset, results);
    case Type::kFloat16: return launch<__half>(which, in, offset, results);
    case Type::kBFloat16: return launch<__nv_bfloat16>(which, in, offset, results);
  }
  return cudaErrorInvalidValue;
}

bool same(const Results& a, const Results& b) {
  for (const auto member :
       {&Results::y, &Results::to_x, &Results::to_gain, &Results::to_bias, &Results::to_noise, &Results::total,
        &Results::parts, &Results::to_embedding, &Results::to_latents, &Results::to_identity}) {
    if (!same_bits(a.*member, b.*member)) return false;
  }
  return true;
}

void check_case(const Case& which, int seeds) {
  const Inputs inputs = make_inputs(which, 7);
  Results first;
  for (int seed = 1; seed <= seeds; ++seed) {
    cuda_host::options().seed = static_cast<std::uint64_t>(seed);
    const std::string label = name(which).append(", seed ").append(std::to_string(seed)).append(": ");
    Results results;
    check(launch(which, inputs, 0, results) == cudaSuccess, label + "launch");
    const std::string fault = compare(which, inputs, results);
    check(fault.empty(), label + fault);
    if (seed == 1) {
      first = results;
    } else {
      check(same(results, first), label + "other bits");
    }
  }
  // One element off: what could be moved in vectors no longer can.
  if (which.op != Op::kEditLoss && which.channels % 4 == 0 && which.h <= 9) {
    Results results;
    check(launch(which, inputs, 1, results) == cudaSuccess, name(which).append(", unaligned: launch"));
    const std::string fault = compare(which, inputs, results);
    check(fault.empty(), name(which).append(", unaligned: ").append(fault));
  }
}

/// Null pointers, or one number, for everything: a launch would end the test.
void check_refusals() {
  const auto refused = [](cudaError_t error, const char* what) { check(error == cudaErrorInvalidValue, what); };
  constexpr std::int64_t kHuge = std::int64_t{1} << 40;
  float number = 0;
  cuda::StyledActivateParams styled;
  styled.pictures = std::int64_t{1} << 33;
  styled.pixels = styled.channels = 1;
  refused(cuda::launch_styled_activate(styled, nullptr), "styled_activate: a grid beyond CUDA's is refused");
  styled.pictures = -1;
  refused(cuda::launch_styled_activate(styled, nullptr), "styled_activate: a negative count is refused");
  styled.pictures = 1;
  styled.pixels = 1 << 20;
  styled.channels = kHuge;
  refused(cuda::launch_styled_activate(styled, nullptr), "styled_activate: indices beyond 64 bits are refused");
  cuda::StyledGradients end;
  end.pictures = 1;
  end.channels = end.pixels = -1;
  refused(cuda::launch_styled_activate_backward(end, nullptr, nullptr),
          "styled_activate: a negative count is refused backwards");
  // Of to_x, to_gain and to_bias something is wanted, and would be launched first.
  end.noise_each = true;
  end.to_noise = &number;
  end.channels = 1;
  end.pictures = std::int64_t{1} << 22;
  end.pixels = std::int64_t{1} << 42;
  refused(cuda::launch_styled_activate_backward(end, &number, nullptr),
          "styled_activate: noises beyond 64 bits are refused backwards");
  end.pictures = 1 << 10;
  end.pixels = 1 << 30;
  refused(cuda::launch_styled_activate_backward(end, &number, nullptr),
          "styled_activate: more noises than a grid has are refused backwards");
  end.to_noise = nullptr;
  end.to_bias = &number;
  end.pictures = end.pixels = 1;
  end.channels = kHuge;
  refused(cuda::launch_styled_activate_backward(end, &number, nullptr),
          "styled_activate: more biases than a grid has are refused backwards");
  end.to_bias = nullptr;
  end.to_gain = &number;
  end.pictures = 1 << 20;
  end.channels = std::int64_t{1} << 36;
  refused(cuda::launch_styled_activate_backward(end, &number, nullptr),
          "styled_activate: more gains than a grid has are refused backwards");
  cuda::FilterStyledActivateParams filter;
  filter.pictures = filter.channels = filter.width = 1;
  filter.height = (std::int64_t{1} << 30) + 1;
  refused(cuda::launch_filter_styled_activate(filter, nullptr), "filter_styled_activate: a side above 2^30 is refused");
  filter.height = 1 << 20;
  filter.channels = kHuge;
  refused(cuda::launch_filter_styled_activate(filter, nullptr),
          "filter_styled_activate: indices beyond 64 bits are refused");
  filter.pictures = std::int64_t{1} << 32;
  filter.height = filter.channels = 1;
  refused(cuda::launch_filter_styled_activate(filter, nullptr),
          "filter_styled_activate: a grid beyond CUDA's is refused");
  cuda::FilterStyledGradients back;
  back.end.pictures = back.end.channels = back.end.pixels = 1;
  back.height = back.width = 2;
  refused(cuda::launch_filter_styled_activate_backward(back, nullptr),
          "filter_styled_activate: pixels that are not height times width are refused");
  back.end.pixels = 4;
  back.end.to_bias = &number;
  back.end.channels = kHuge;
  refused(cuda::launch_filter_styled_activate_backward(back, nullptr),
          "filter_styled_activate: more biases than a grid has are refused backwards");
  back.end.pictures = 1 << 18;
  back.end.channels = 1 << 30;
  back.height = back.width = 1 << 10;
  back.end.pixels = 1 << 20;
  refused(cuda::launch_filter_styled_activate_backward(back, nullptr),
          "filter_styled_activate: indices beyond 64 bits are refused backwards");
  cuda::ResampleParams resample;
  resample.planes = 1;
  resample.vertical.to = -1;
  refused(cuda::launch_resample(resample, nullptr), "resample: a negative size is refused");
  resample.planes = resample.vertical.from = std::int64_t{1} << 30;
  resample.vertical.to = 1;
  resample.horizontal.to = 16;
  refused(cuda::launch_resample(resample, nullptr), "resample: lines beyond 64 bits are refused");
  cuda::ResampleParams wide;
  wide.planes = 1 << 20;
  wide.vertical.from = 1 << 15;
  wide.horizontal.from = 1 << 30;
  wide.vertical.to = wide.horizontal.to = 1;
  refused(cuda::launch_resample(wide, nullptr), "resample: pictures beyond 64 bits are refused");
  cuda::EditLossParams loss;
  loss.n = 1;
  refused(cuda::launch_edit_loss(loss, nullptr), "edit_loss: embeddings without numbers are refused");
  loss.texts = loss.numbers = 1;
  loss.n = 1 << 20;
  loss.dim = kHuge;
  refused(cuda::launch_edit_loss(loss, nullptr), "edit_loss: embeddings beyond 64 bits are refused");
  loss.dim = 1;
  loss.numbers = kHuge;
  refused(cuda::launch_edit_loss(loss, nullptr), "edit_loss: latents beyond 64 bits are refused");
  loss.numbers = 1;
  loss.n = std::int64_t{1} << 31;
  refused(cuda::launch_edit_loss(loss, nullptr), "edit_loss: a grid beyond CUDA's is refused");
}

}  // namespace

void check_gradient_operators(cases::Table table) {
  for (const Op op : kOps) {
    for (const Case& which : all_cases(op, table)) {
      const bool large = which.n * which.h * which.w * which.channels > 10000;
      check_case(which, table != cases::Table::kAll || large ? 1 : 2);
    }
  }
  check_refusals();
}

}  // namespace styleclip::checks
