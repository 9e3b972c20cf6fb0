// The inner loops of up_layer_cpu.cpp for one instruction set: see ops/each_instruction_set.h.
// NOLINTBEGIN(bugprone-macro-parentheses): T is a type

#include "ops/lanes.h"

// One axis: t of the last three places, and the part of the next one that is known.
struct Pending {
  Lanes third{}, second{}, last{}, part{};
};

// The products g of the next pixel complete two results.
STYLECLIP_LANE_INLINE void filter_step(const Lanes& g0, const Lanes& g1, const Lanes& g2, const float* f, Pending& t,
                                       Lanes& even, Lanes& odd) {
  const Lanes next = g0 + t.part;
  even = f[0] * t.third + f[1] * t.second + f[2] * t.last + f[3] * next;
  odd = f[0] * t.second + f[1] * t.last + f[2] * next + f[3] * g1;
  t.third = t.last;
  t.second = next;
  t.last = g1;
  t.part = g2;
}

// The same across, for one of the three taps down, from where the products lie (null: beyond the edge, zeros).
template <bool Full, typename T>
STYLECLIP_LANE_INLINE void across_step(const T* products, std::int64_t channels, std::int64_t count, const float* f,
                                       Pending& t, Lanes& even, Lanes& odd) {
  Lanes g0{}, g1{}, g2{};
  if (products != nullptr) {
    load<Full>(products, count, g0);
    load<Full>(products + channels, count, g1);
    load<Full>(products + 2 * channels, count, g2);
  }
  filter_step(g0, g1, g2, f, t, even, odd);
}

// A column of the result, of whose taps down `a`, `b` and `c` are the next source row's: the last source row's two places
// are complete.
template <bool Full, bool Write, typename T>
STYLECLIP_LANE_INLINE void column(const Lanes& a, const Lanes& b, const Lanes& c, std::int64_t x, const Block& block,
                                  const PendingRows& rows, const Lanes& bias, const RowPair<T>& to) {
  const std::int64_t at = x * kLanes;
  Pending t;
  load<true>(rows.third + at, kLanes, t.third);
  load<true>(rows.second + at, kLanes, t.second);
  load<true>(rows.last + at, kLanes, t.last);
  load<true>(rows.part + at, kLanes, t.part);
  Lanes even, odd;
  filter_step(a, b, c, block.filter, t, even, odd);
  // The rows of `third` and `last` change places with every source row.
  store<true>(t.second, kLanes, rows.second + at);
  store<true>(t.last, kLanes, rows.third + at);
  store<true>(t.part, kLanes, rows.part + at);
  if constexpr (Write) {
    if (block.bias != nullptr) {
      even += bias;
      odd += bias;
      if (to.noise != nullptr) {
        even += to.noise[x];
        odd += to.noise[2 * block.side + x];
      }
      activate(even, block.limit);
      activate(odd, block.limit);
    }
    store<Full>(even, block.count, to.y + x * block.channels);
    store<Full>(odd, block.count, to.y + (2 * block.side + x) * block.channels);
  }
}

template <bool Full, bool Write, typename T>
STYLECLIP_LANE_INLINE void filter_row(const T* products, const Block& block, const PendingRows& rows, const Lanes& bias,
                                      const RowPair<T>& to) {
  Pending s, t, u;
  Lanes a0, a1, b0, b1, c0, c1;
  const std::int64_t down = 3 * block.channels;
  for (std::int64_t j = 0; j <= block.side; ++j) {
    const T* here = products == nullptr || j == block.side ? nullptr : products + j * 3 * down;
    across_step<Full>(here, block.channels, block.count, block.filter, s, a0, a1);
    across_step<Full>(here == nullptr ? here : here + down, block.channels, block.count, block.filter, t, b0, b1);
    across_step<Full>(here == nullptr ? here : here + 2 * down, block.channels, block.count, block.filter, u, c0, c1);
    if (j == 0) continue;
    column<Full, Write>(a0, b0, c0, 2 * j - 2, block, rows, bias, to);
    column<Full, Write>(a1, b1, c1, 2 * j - 1, block, rows, bias, to);
  }
}

// `count` source rows of products from row `first`; a null row beyond the last one completes the picture.
// Copies, of which the compiler knows that no store changes them.
template <bool Full, typename T>
STYLECLIP_LANE_INLINE void filter_rows(const T* products, std::int64_t first, std::int64_t count, Block block,
                                       PendingRows rows, T* y) {
  const float filter[4] = {block.filter[0], block.filter[1], block.filter[2], block.filter[3]};
  block.filter = filter;
  Lanes bias{};
  if (block.bias != nullptr) load<Full>(block.bias, block.count, bias);
  const std::int64_t width = 2 * block.side;
  for (std::int64_t i = first; i < first + count; ++i) {
    RowPair<T> to;
    if (i > 0) {
      to.y = y + 2 * (i - 1) * width * block.channels;
      if (block.noise != nullptr) to.noise = block.noise + 2 * (i - 1) * width;
      filter_row<Full, true>(products, block, rows, bias, to);
    } else {
      filter_row<Full, false>(products, block, rows, bias, to);
    }
    std::swap(rows.third, rows.last);
    if (products != nullptr) products += block.side * 9 * block.channels;
  }
}

#define STYLECLIP_UP_LAYER(T)                                                                                       \
  STYLECLIP_TARGET void filter_block(const T* products, std::int64_t first, std::int64_t count, const Block& block, \
                                     const PendingRows& rows, T* y) {                                               \
    if (block.count == kLanes) {                                                                                    \
      filter_rows<true>(products, first, count, block, rows, y);                                                    \
    } else {                                                                                                        \
      filter_rows<false>(products, first, count, block, rows, y);                                                   \
    }                                                                                                               \
  }
STYLECLIP_UP_LAYER(float)
STYLECLIP_UP_LAYER(c10::BFloat16)
STYLECLIP_UP_LAYER(c10::Half)
#undef STYLECLIP_UP_LAYER
// NOLINTEND(bugprone-macro-parentheses)
