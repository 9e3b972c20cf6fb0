// The inner loop of add_to_canvas_cpu.cpp for one instruction set: see each_instruction_set.h. A register holds neighbouring
// channels of one pixel. The sums over the channels of a few pixels stay in registers; those of as many pixels as a register
// has lanes are then added up side by side.

#include "ops/lanes.h"

// Pixels at a time: three sums each, beside what they share.
constexpr std::int64_t kTogether = kLanes >= 16 ? 4 : 2;

// `count` channels from `first` on, of `Pixels` neighbours; sums [3, Pixels].
template <RowKind kind, bool Full, std::int64_t Pixels, typename T>
STYLECLIP_LANE_INLINE void add_channels(T* y, std::int64_t first, std::int64_t count, const RowEnd& end,
                                        const float* shifts, Lanes (&sums)[3][Pixels]) {
  Lanes bias, weight[3];
  if constexpr (kind != RowKind::Active) load<Full>(end.bias + first, count, bias);
  for (std::int64_t c = 0; c < 3; ++c) load<Full>(end.weight + c * end.channels + first, count, weight[c]);
  for (std::int64_t p = 0; p < Pixels; ++p) {
    T* const at = y + p * end.channels + first;
    Lanes x;
    load<Full>(at, count, x);
    if constexpr (kind != RowKind::Active) {
      x += shifts[p] + bias;
      activate(x, end.limit);
    }
    if constexpr (kind == RowKind::ActivateAndKeep) store<Full>(x, count, at);
    for (std::int64_t c = 0; c < 3; ++c) sums[c][p] += weight[c] * x;
  }
}

// to [3, kLanes], the first `Pixels` of each colour.
template <RowKind kind, std::int64_t Pixels, typename T>
STYLECLIP_LANE_INLINE void sum_pixels(T* y, const float* noise, const RowEnd& end, Lanes* to) {
  // Element by element: GCC fills what is initialised as a whole by a string instruction, which takes longer than the sums.
  Lanes sums[3][Pixels];
  float shifts[Pixels];
  for (std::int64_t p = 0; p < Pixels; ++p) {
    sums[0][p] = sums[1][p] = sums[2][p] = Lanes{};
    shifts[p] = noise == nullptr ? 0.0F : noise[p];
  }
  std::int64_t first = 0;
  for (; first + kLanes <= end.channels; first += kLanes) {
    add_channels<kind, true, Pixels>(y, first, kLanes, end, shifts, sums);
  }
  if (first < end.channels) add_channels<kind, false, Pixels>(y, first, end.channels - first, end, shifts, sums);
  for (std::int64_t c = 0; c < 3; ++c) {
    for (std::int64_t p = 0; p < Pixels; ++p) to[c * kLanes + p] = sums[c][p];
  }
}

// Which lane of a, or kLanes and more: of b, lane i of fold() takes first; the second one is half later.
constexpr int lane_of(std::int64_t i, std::int64_t half) {
  const std::int64_t group = i / (2 * half), at = i % (2 * half);
  return static_cast<int>((at < half ? 0 : kLanes) + group * 2 * half + at % half);
}

// Every 2 Half lanes of two registers become the sums of their two halves, those of a before those of b.
template <std::int64_t Half, std::size_t... I>
STYLECLIP_LANE_INLINE void fold(const Lanes& a, const Lanes& b, Lanes& to, std::index_sequence<I...> /*lanes*/) {
  const Lanes low = __builtin_shufflevector(a, b, lane_of(I, Half)...);
  const Lanes high = __builtin_shufflevector(a, b, (lane_of(I, Half) + static_cast<int>(Half))...);
  to = low + high;
}

// sums[0], lane i := the sum of all lanes of sums[i], of kLanes registers.
template <std::int64_t Half = 1>
STYLECLIP_LANE_INLINE void add_lanes(Lanes* sums) {
  if constexpr (Half < kLanes) {
    for (std::int64_t i = 0; i < kLanes / (2 * Half); ++i) {
      fold<Half>(sums[2 * i], sums[2 * i + 1], sums[i], std::make_index_sequence<kLanes>());
    }
    add_lanes<2 * Half>(sums);
  }
}

// A row of y [pixels, channels] -> rgb [3, pixels].
template <RowKind kind, typename T>
STYLECLIP_TARGET void row_to_rgb(T* y, std::int64_t pixels, const float* noise, const RowEnd& end, float* rgb) {
  Lanes sums[3 * kLanes];
  const Lanes most = Lanes{} + end.rgb_limit;
  for (std::int64_t p = 0; p < pixels; p += kLanes) {
    const std::int64_t n = std::min(kLanes, pixels - p);
    for (std::int64_t q = 0; q < n;) {
      const float* shifts = noise == nullptr ? nullptr : noise + p + q;
      T* const at = y + (p + q) * end.channels;
      if (q + kTogether <= n) {
        sum_pixels<kind, kTogether>(at, shifts, end, sums + q);
        q += kTogether;
      } else {
        sum_pixels<kind, 1>(at, shifts, end, sums + q);
        ++q;
      }
    }
    for (std::int64_t q = n; q < kLanes; ++q) sums[q] = sums[kLanes + q] = sums[2 * kLanes + q] = Lanes{};
    for (std::int64_t c = 0; c < 3; ++c) {
      Lanes* const colour = sums + c * kLanes;
      add_lanes(colour);
      Lanes value = colour[0] + end.rgb_bias[c];
      value = value < -most ? -most : value;
      value = most < value ? most : value;
      store<false>(value, n, rgb + c * pixels + p);
    }
  }
}
