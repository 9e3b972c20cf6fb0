// The fast CPU implementation of clip_input: one pass over the canvas, its rows in parallel.
#include "ops/clip_input.h"

#include <ATen/Parallel.h>

#include "ops/rows_cpu.h"

namespace styleclip {

void clip_input_cpu(const at::Tensor& canvas, const at::Tensor& mean, const at::Tensor& deviation, std::int64_t patch,
                    at::Tensor& out) {
  check_clip_input(canvas, mean, deviation, patch, out);
  const at::Tensor from = canvas.contiguous(), means = mean.contiguous(), deviations = deviation.contiguous();
  const float* data = from.const_data_ptr<float>();
  const std::int64_t size = canvas.size(2);
  const std::int64_t side = patch > 0 ? patch : size;  // of a patch; the whole picture is one
  if (size == 0) return;
  const std::int64_t across = size / side;
  rows::for_type(out.scalar_type(), [&]<typename T> {
    T* to = out.mutable_data_ptr<T>();
    at::parallel_for(0, canvas.size(0) * 3 * size, rows::grain(size), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t n = i / (3 * size), c = i / size % 3, row = i % size;
        const float middle = means.const_data_ptr<float>()[c];
        const float divisor = deviations.const_data_ptr<float>()[c];
        // out [n, row / side, column / side, c, row % side, column % side]
        T* target = to + (((n * across + row / side) * across * 3 + c) * side + row % side) * side;
        for (std::int64_t block = 0; block < across; ++block, target += 3 * side * side) {
          const float* source = data + i * size + block * side;
          for (std::int64_t j = 0; j < side; ++j) {
            target[j] = static_cast<T>(((source[j] + 1.0F) / 2.0F - middle) / divisor);
          }
        }
      }
    });
  });
}

}  // namespace styleclip
