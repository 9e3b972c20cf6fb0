// The fast CPU implementation of resample. Sixteen rows of the result at a time: each is the weighted sum of its band of the
// picture's rows, vectorised along them; the sixteen are laid side by side, so that the sums across, whose bands start
// anywhere, are vectorised over the rows. Strips of all planes run in parallel.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "ops/resample.h"
#include "ops/rows_cpu.h"

namespace styleclip {
namespace {

constexpr std::int64_t kRows = 16;

/// A matrix [to, from] by the bands of its rows: weight i of a row belongs to entry first + i.
template <typename A>
struct Bands {
  std::vector<std::int64_t> first, count, start;  // start: of the row's weights
  std::vector<A> weights;
};

/// The matrix may be a transposed one: it is read in the order in which it lies.
template <typename A>
Bands<A> find_bands(const at::Tensor& matrix) {
  const std::int64_t to = matrix.size(0), from = matrix.size(1), down = matrix.stride(0), across = matrix.stride(1);
  const A* data = matrix.const_data_ptr<A>();
  const auto rows = static_cast<std::size_t>(to);
  Bands<A> bands{std::vector<std::int64_t>(rows, from),
                 std::vector<std::int64_t>(rows, 0),
                 std::vector<std::int64_t>(rows, 0),
                 {}};
  std::vector<std::int64_t>& end = bands.count;  // for now
  const auto see = [&](std::int64_t row, std::int64_t i) {
    if (data[row * down + i * across] == 0) return;
    const auto at = static_cast<std::size_t>(row);
    bands.first[at] = std::min(bands.first[at], i);
    end[at] = std::max(end[at], i + 1);
  };
  if (across <= down) {
    for (std::int64_t row = 0; row < to; ++row) {
      for (std::int64_t i = 0; i < from; ++i) see(row, i);
    }
  } else {
    for (std::int64_t i = 0; i < from; ++i) {
      for (std::int64_t row = 0; row < to; ++row) see(row, i);
    }
  }
  for (std::size_t row = 0; row < rows; ++row) {
    bands.start[row] = static_cast<std::int64_t>(bands.weights.size());
    bands.count[row] = std::max<std::int64_t>(end[row] - bands.first[row], 0);
    const A* at = data + static_cast<std::int64_t>(row) * down;
    for (std::int64_t i = 0; i < bands.count[row]; ++i) bands.weights.push_back(at[(bands.first[row] + i) * across]);
  }
  return bands;
}

// line [count] = Σ_i weights[i] rows[i], rows `stride` apart.
template <typename A>
STYLECLIP_INLINE void mix_body(const A* __restrict rows, std::int64_t stride, const A* __restrict weights,
                               std::int64_t taps, std::int64_t count, A* __restrict line) {
  constexpr std::int64_t kChunk = 64;
  std::int64_t at = 0;
  for (; at + kChunk <= count; at += kChunk) {
    A sums[kChunk] = {};
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      const A weight = weights[tap];
      const A* __restrict row = rows + tap * stride + at;
      for (std::int64_t i = 0; i < kChunk; ++i) sums[i] += weight * row[i];
    }
    for (std::int64_t i = 0; i < kChunk; ++i) line[at + i] = sums[i];
  }
  if (at == count) return;
  for (std::int64_t i = at; i < count; ++i) line[i] = 0;
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    const A weight = weights[tap];
    const A* __restrict row = rows + tap * stride;
    for (std::int64_t i = at; i < count; ++i) line[i] += weight * row[i];
  }
}

// to [to, kRows] = Σ_i weights[i] from[first + i] of from [from, kRows], one band for each entry of `to`.
template <typename A>
STYLECLIP_INLINE void mix_columns_body(const A* __restrict from, const Bands<A>& bands, A* __restrict to) {
  const std::size_t count = bands.first.size();
  for (std::size_t column = 0; column < count; ++column) {
    const A* __restrict weights = bands.weights.data() + bands.start[column];
    const A* __restrict at = from + bands.first[column] * kRows;
    A sums[kRows] = {};
    for (std::int64_t tap = 0; tap < bands.count[column]; ++tap) {
      const A weight = weights[tap];
      for (std::int64_t i = 0; i < kRows; ++i) sums[i] += weight * at[tap * kRows + i];
    }
    for (std::int64_t i = 0; i < kRows; ++i) to[static_cast<std::int64_t>(column) * kRows + i] = sums[i];
  }
}

STYLECLIP_CLONED void mix(const float* rows, std::int64_t stride, const float* weights, std::int64_t taps,
                          std::int64_t count, float* line) {
  mix_body(rows, stride, weights, taps, count, line);
}
STYLECLIP_CLONED void mix(const double* rows, std::int64_t stride, const double* weights, std::int64_t taps,
                          std::int64_t count, double* line) {
  mix_body(rows, stride, weights, taps, count, line);
}
STYLECLIP_CLONED void mix_columns(const float* from, const Bands<float>& bands, float* to) {
  mix_columns_body(from, bands, to);
}
STYLECLIP_CLONED void mix_columns(const double* from, const Bands<double>& bands, double* to) {
  mix_columns_body(from, bands, to);
}

// to [columns, rows] = from [rows, columns], in squares that stay in the first cache.
template <typename A>
void turn(const A* from, std::int64_t from_stride, std::int64_t rows, std::int64_t columns, A* to,
          std::int64_t to_stride) {
  constexpr std::int64_t kSide = 16;
  for (std::int64_t c = 0; c < columns; c += kSide) {
    const std::int64_t end = std::min(c + kSide, columns);
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t column = c; column < end; ++column) {
        to[column * to_stride + row] = from[row * from_stride + column];
      }
    }
  }
}

/// Work memory of a thread.
template <typename T, typename A>
struct Strip {
  std::vector<A> picture;  // the strip's band of the picture, where it has to be widened
  std::vector<A> lines;    // [kRows, w]
  std::vector<A> beside;   // [w, kRows]
  std::vector<A> mixed;    // [W, kRows]
  std::vector<A> result;   // [kRows, W]
};

/// Rows `first` to `last` of one plane's result.
template <typename T, typename A>
void resample_strip(const T* plane, std::int64_t w, std::int64_t first, std::int64_t last, const Bands<A>& vertical,
                    const Bands<A>& horizontal, Strip<T, A>& work, T* result) {
  const std::int64_t rows = last - first, columns = static_cast<std::int64_t>(horizontal.first.size());
  std::int64_t begin = 0, end = 0;  // of the picture's rows that the strip needs
  for (std::int64_t row = first; row < last; ++row) {
    const auto at = static_cast<std::size_t>(row);
    if (vertical.count[at] == 0) continue;
    begin = end == 0 ? vertical.first[at] : std::min(begin, vertical.first[at]);
    end = std::max(end, vertical.first[at] + vertical.count[at]);
  }
  if constexpr (!std::is_same_v<T, A>) work.picture.resize(static_cast<std::size_t>((end - begin) * w));
  const A* band = rows::widened(plane + begin * w, (end - begin) * w, work.picture.data());
  for (std::int64_t row = first; row < last; ++row) {
    const auto at = static_cast<std::size_t>(row);
    mix(band + (std::min(vertical.first[at], end) - begin) * w, w, vertical.weights.data() + vertical.start[at],
        vertical.count[at], w, work.lines.data() + (row - first) * w);
  }
  turn(work.lines.data(), w, rows, w, work.beside.data(), kRows);
  mix_columns(work.beside.data(), horizontal, work.mixed.data());
  if constexpr (std::is_same_v<T, A>) {
    turn(work.mixed.data(), kRows, columns, rows, result, columns);
  } else {
    turn(work.mixed.data(), kRows, columns, rows, work.result.data(), columns);
    rows::narrow(work.result.data(), rows * columns, result);
  }
}

}  // namespace

at::Tensor resample_cpu(const at::Tensor& images, const at::Tensor& vertical, const at::Tensor& horizontal) {
  check_resample(images, vertical, horizontal);
  const at::Tensor planes = images.contiguous();
  const std::int64_t n = images.size(0), channels = images.size(1), h = images.size(2), w = images.size(3);
  const std::int64_t height = vertical.size(0), width = horizontal.size(0);
  at::Tensor result = at::empty({n, channels, height, width}, images.options(), at::MemoryFormat::Contiguous);
  if (result.numel() == 0) return result;
  if (images.numel() == 0) return result.zero_();
  const std::int64_t strips = (height + kRows - 1) / kRows;
  rows::for_any_type(images.scalar_type(), [&]<typename T> {
    using A = rows::Wide<T>;
    const Bands<A> down = find_bands<A>(vertical), across = find_bands<A>(horizontal);
    const T* from = planes.const_data_ptr<T>();
    T* to = result.mutable_data_ptr<T>();
    at::parallel_for(0, n * channels * strips, rows::grain(kRows * w), [&](std::int64_t begin, std::int64_t end) {
      Strip<T, A> work;
      work.lines.resize(static_cast<std::size_t>(kRows * w));
      work.beside.resize(static_cast<std::size_t>(kRows * w));
      work.mixed.resize(static_cast<std::size_t>(kRows * width));
      if constexpr (!std::is_same_v<T, A>) work.result.resize(static_cast<std::size_t>(kRows * width));
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t plane = i / strips, first = i % strips * kRows;
        resample_strip(from + plane * h * w, w, first, std::min(first + kRows, height), down, across, work,
                       to + (plane * height + first) * width);
      }
    });
  });
  return result;
}

}  // namespace styleclip
