// Sixteen-bit floats as 32-bit ones: what files hold and JavaScript (before Float16Array) has no array for.

/** IEEE 754 binary16 bits to float32, exactly (subnormals, infinities and NaN too). */
export function fromFloat16(bits: Uint16Array): Float32Array {
  return Float32Array.from(bits, (b) => {
    const sign = b & 0x8000 ? -1 : 1;
    const exponent = (b >> 10) & 0x1f;
    const fraction = b & 0x3ff;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}

/** bfloat16 bits to float32: the upper half of a float32. */
export function fromBfloat16(bits: Uint16Array): Float32Array {
  const words = Uint32Array.from(bits, (b) => b << 16);
  return new Float32Array(words.buffer);
}
