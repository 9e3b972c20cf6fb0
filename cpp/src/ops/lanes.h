// A register of floats for one instruction set: included by loops of each_instruction_set.h. Vectors go by reference: how
// they are passed by value differs between instruction sets.

constexpr std::int64_t kLanes = STYLECLIP_LANES;
using Lanes = float __attribute__((vector_size(4 * STYLECLIP_LANES)));
using Words = std::uint32_t __attribute__((vector_size(4 * STYLECLIP_LANES)));
using Halves = std::uint16_t __attribute__((vector_size(2 * STYLECLIP_LANES)));

// `count` numbers, kLanes of them where Full; the others become 0.
template <bool Full>
STYLECLIP_LANE_INLINE void load(const float* from, std::int64_t count, Lanes& to) {
  if constexpr (!Full) to = Lanes{};
  std::memcpy(&to, from, Full ? sizeof(to) : static_cast<std::size_t>(count) * sizeof(float));
}
template <bool Full>
STYLECLIP_LANE_INLINE void load(const c10::BFloat16* from, std::int64_t count, Lanes& to) {
  Halves bits{};
  std::memcpy(&bits, from, Full ? sizeof(bits) : static_cast<std::size_t>(count) * sizeof(bits[0]));
  const Words wide = __builtin_convertvector(bits, Words) << 16;
  std::memcpy(&to, &wide, sizeof(to));
}
template <bool Full>
STYLECLIP_LANE_INLINE void load(const c10::Half* from, std::int64_t count, Lanes& to) {
  alignas(sizeof(Lanes)) float wide[STYLECLIP_LANES] = {};
  const std::int64_t n = Full ? kLanes : count;
  for (std::int64_t i = 0; i < n; ++i) wide[i] = to_float(from[i]);
  std::memcpy(&to, wide, sizeof(to));
}

template <bool Full>
STYLECLIP_LANE_INLINE void store(const Lanes& from, std::int64_t count, float* to) {
  std::memcpy(to, &from, Full ? sizeof(from) : static_cast<std::size_t>(count) * sizeof(float));
}
template <bool Full>
STYLECLIP_LANE_INLINE void store(const Lanes& from, std::int64_t count, c10::BFloat16* to) {
#ifdef STYLECLIP_ROUNDS_BF16
  const __m256bh narrow = _mm512_cvtneps_pbh(__m512(from));  // subnormal numbers become 0
#else
  Words bits;  // as from_float()
  std::memcpy(&bits, &from, sizeof(bits));
  const Words rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  const Words kept = from != from ? Words{} + 0x7fc0U : rounded;
  const Halves narrow = __builtin_convertvector(kept, Halves);
#endif
  std::memcpy(to, &narrow, Full ? sizeof(narrow) : static_cast<std::size_t>(count) * sizeof(*to));
}
template <bool Full>
STYLECLIP_LANE_INLINE void store(const Lanes& from, std::int64_t count, c10::Half* to) {
  alignas(sizeof(Lanes)) float wide[STYLECLIP_LANES];
  std::memcpy(wide, &from, sizeof(from));
  const std::int64_t n = Full ? kLanes : count;
  for (std::int64_t i = 0; i < n; ++i) to[i] = from_float<c10::Half>(wide[i]);
}

// As activated() of numbers_cpu.h.
STYLECLIP_LANE_INLINE void activate(Lanes& x, float limit) {
  const Lanes low = 0.2F * x, most = Lanes{} + limit;
  x = x < low ? low : x;
  x = x < -most ? -most : x;
  x = most < x ? most : x;
}
