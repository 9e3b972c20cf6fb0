// The way back through a layer's end for one instruction set: see each_instruction_set.h. A register holds neighbouring
// channels of one pixel. A few pixels are done for one register of channels before the next one, so that its sums and what
// it shares are read and written once for all of them, while the lines of memory that they touch stay neighbours: all pixels
// at once are three times slower where a pixel has 512 channels.

template <typename A>
struct Register {
  using Lanes __attribute__((vector_size(4 * STYLECLIP_LANES))) = A;
};
template <typename A>
using Lanes = Register<A>::Lanes;
template <typename A>
constexpr std::int64_t kLanes = 4 * STYLECLIP_LANES / static_cast<std::int64_t>(sizeof(A));

// `count` numbers, all lanes where Full; the others become 0.
template <bool Full, typename A>
STYLECLIP_LANE_INLINE void load(const A* from, std::int64_t count, Lanes<A>& to) {
  if constexpr (!Full) to = Lanes<A>{};
  std::memcpy(&to, from, Full ? sizeof(to) : static_cast<std::size_t>(count) * sizeof(A));
}
template <bool Full, typename A>
STYLECLIP_LANE_INLINE void store(const Lanes<A>& from, std::int64_t count, A* to) {
  std::memcpy(to, &from, Full ? sizeof(from) : static_cast<std::size_t>(count) * sizeof(A));
}
// Adds to what is there; nothing where there is no place for it.
template <bool Full, typename A>
STYLECLIP_LANE_INLINE void add(const Lanes<A>& more, std::int64_t count, A* to) {
  if (to == nullptr) return;
  Lanes<A> sum;
  load<Full>(to, count, sum);
  sum += more;
  store<Full>(sum, count, to);
}

// Of `pixels` neighbours, the `count` channels from `first` on. pixel_sums [pixels] is for Kind::Every only.
template <Kind kind, bool Full, typename A>
STYLECLIP_LANE_INLINE void unfinish_lanes(const Upstream<A>& above, const A* y, std::int64_t first, std::int64_t count,
                                          std::int64_t pixels, const LayerEnd<A>& end, const A* noise, A* to_x,
                                          const Sums<A>& sums, Lanes<A>* pixel_sums) {
  constexpr bool kGiven = kind != Kind::Colours, kStyled = kind == Kind::Style || kind == Kind::StyleAndColours;
  constexpr bool kColoured = kind == Kind::Colours || kind == Kind::StyleAndColours;
  constexpr A kAbove = std::numbers::sqrt2_v<A>, kBelow = A{0.2} * std::numbers::sqrt2_v<A>;
  const std::int64_t channels = end.channels;
  Lanes<A> gain, bias, style, colours[3], to_gain{}, to_bias{}, to_style{}, to_colours[3]{};
  load<Full>(end.gain + first, count, gain);
  load<Full>(end.bias + first, count, bias);
  if constexpr (kStyled) load<Full>(above.style + first, count, style);
  if constexpr (kColoured) {
    for (std::int64_t q = 0; q < 3; ++q) load<Full>(above.colours + q * channels + first, count, colours[q]);
  }
  const Lanes<A> most = Lanes<A>{} + end.limit, rising = Lanes<A>{} + kAbove, falling = Lanes<A>{} + kBelow;
  for (std::int64_t p = 0; p < pixels; ++p) {
    Lanes<A> result, g{};
    load<Full>(y + p * channels + first, count, result);
    if constexpr (kGiven) load<Full>(above.gradient + p * channels + first, count, g);
    if constexpr (kStyled) {
      to_style += g * result;
      g *= style;
    }
    if constexpr (kColoured) {
      for (std::int64_t q = 0; q < 3; ++q) {
        const A of_rgb = above.rgb[q][p];
        to_colours[q] += of_rgb * result;
        g += of_rgb * colours[q];
      }
    }
    const auto rises = result > 0, cut = (result >= most) | (result <= -most);
    const Lanes<A> passed = g * (rises ? rising : falling);
    const Lanes<A> of_sum = cut ? Lanes<A>{} : passed;  // of the activated sum
    const A shift = noise == nullptr ? A{0} : noise[p];
    const Lanes<A> product = of_sum * (result * (rises ? 1 / rising : 1 / falling) - (shift + bias));
    to_gain += cut ? Lanes<A>{} : product;
    if constexpr (kind == Kind::Every) {
      to_bias += of_sum;
      pixel_sums[p] += of_sum;
    }
    const Lanes<A> of_x = of_sum * gain;
    store<Full>(of_x, count, to_x + p * channels + first);
  }
  const auto place = [&](A* all) { return all == nullptr ? nullptr : all + first; };
  add<Full>(to_gain, count, place(sums.gain));
  if constexpr (kind == Kind::Every) add<Full>(to_bias, count, place(sums.bias));
  if constexpr (kStyled) add<Full>(to_style, count, place(sums.style));
  if constexpr (kColoured) {
    for (std::int64_t q = 0; q < 3; ++q) add<Full>(to_colours[q], count, place(sums.colours[q]));
  }
}

template <Kind kind, typename A>
STYLECLIP_TARGET void unfinish(const Upstream<A>& above, const A* y, std::int64_t pixels, const LayerEnd<A>& end,
                               const A* noise, A* to_x, const Sums<A>& sums) {
  constexpr std::int64_t kFewest = 4, kMost = 32, kNumbers = 1024;
  const std::int64_t channels = end.channels, together = std::clamp(kNumbers / channels, kFewest, kMost);
  for (std::int64_t p = 0; p < pixels; p += together) {
    const std::int64_t n = std::min(together, pixels - p);
    Upstream<A> here = above;
    if (here.gradient != nullptr) here.gradient += p * channels;
    for (const A*& plane : here.rgb) plane = plane == nullptr ? nullptr : plane + p;
    const A* noise_here = noise == nullptr ? nullptr : noise + p;
    Lanes<A> pixel_sums[kind == Kind::Every ? kMost : 1]{};
    std::int64_t first = 0;
    for (; first + kLanes<A> <= channels; first += kLanes<A>) {
      unfinish_lanes<kind, true>(here, y + p * channels, first, kLanes<A>, n, end, noise_here, to_x + p * channels,
                                 sums, pixel_sums);
    }
    if (first < channels) {
      unfinish_lanes<kind, false>(here, y + p * channels, first, channels - first, n, end, noise_here,
                                  to_x + p * channels, sums, pixel_sums);
    }
    if (kind != Kind::Every || sums.noise == nullptr) continue;
    for (std::int64_t i = 0; i < n; ++i) {
      A sum = 0;
      for (std::int64_t lane = 0; lane < kLanes<A>; ++lane) sum += pixel_sums[i][lane];
      sums.noise[p + i] = sum;
    }
  }
}
