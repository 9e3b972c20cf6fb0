/*
 * Damaged .npy, .npz and .safetensors files, by the thousand, through the readers that are written in TypeScript: each is
 * read, or refused by an error of ours; never an exception of the language's. (The native readers: test/fuzz.)
 */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { StyleClipError } from '../dist/index.js';
import { parseNpy } from '../dist/files/npy.js';
import { parseNpz } from '../dist/files/npz.js';
import { parseSafetensors } from '../dist/files/safetensors.js';

const DATA = fileURLToPath(new URL('../test/data/', import.meta.url));
const CASES = 5000;
/** Bytes and lengths at which mistakes show. */
const BYTES = [0, 1, 127, 128, 255];
const LENGTHS = [0, 1 << 16, 0x7fffffff, 0x80000000, 0xffffffff];

/** Whole numbers below n, the same in every run (xorshift, Marsaglia 2003). */
function randomness(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

/** One change: a bit, a byte, a length, the end, a part again, a part left out. */
function changed(bytes: Buffer, random: (n: number) => number): Buffer {
  if (bytes.length < 8) return bytes;
  const copy = Buffer.from(bytes);
  const at = random(copy.length);
  switch (random(6)) {
    case 0:
      copy[at]! ^= 1 << random(8);
      return copy;
    case 1:
      copy[at] = BYTES[random(BYTES.length)]!;
      return copy;
    case 2:
      copy.writeUInt32LE(LENGTHS[random(LENGTHS.length)]!, Math.min(at, copy.length - 4));
      return copy;
    case 3:
      return copy.subarray(0, at);
    case 4: {
      const from = random(copy.length);
      return Buffer.concat([copy.subarray(0, at), copy.subarray(from, from + 64), copy.subarray(at)]);
    }
    default:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + random(32))]);
  }
}

for (const [ending, parse] of [
  ['.npy', parseNpy],
  ['.npz', parseNpz],
  ['.safetensors', parseSafetensors],
] as const) {
  test(`damaged ${ending} files`, async (t) => {
    const names = (await readdir(DATA, { recursive: true })).filter((name) => name.endsWith(ending)).sort();
    const files = await Promise.all(names.map(async (name) => readFile(join(DATA, name))));
    t.true(files.length > 2);
    const random = randomness(1);
    let refused = 0;
    for (let i = 0; i < CASES; i++) {
      let bytes: Buffer = files[random(files.length)]!;
      for (let left = 1 + random(4); left > 0; left--) bytes = changed(bytes, random);
      try {
        parse(bytes, 'a file');
      } catch (error) {
        if (!StyleClipError.is(error)) t.fail(`case ${i}: ${String(error)}`);
        refused++;
      }
    }
    t.true(refused > CASES / 2, `${refused} of ${CASES} refused`);
    t.true(refused < CASES, 'some are still whole');
  });
}
