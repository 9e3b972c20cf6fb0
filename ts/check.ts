// The door of the public functions: every argument is checked here, before any native work, and refused with an error
// that names it, shows what came, and says what is wanted.

import { fileURLToPath } from 'node:url';
import { StyleClipError, type ErrorName } from './errors.js';

/** Throws a {@link StyleClipError}; for use in expressions. */
export function fail(name: ErrorName, message: string, remedy: string, cause?: unknown): never {
  throw new StyleClipError(name, message, cause === undefined ? { remedy } : { remedy, cause });
}

/** A value as it looks in an error message: short, and never the contents of a large array. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}…` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (value === null || typeof value !== 'object') {
    return typeof value === 'function' ? 'a function' : typeof value === 'symbol' ? 'a symbol' : String(value);
  }
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${'length' in value ? String(value.length) : ''})`;
  if (Array.isArray(value)) {
    return value.length <= 6 && value.every((v) => typeof v === 'number')
      ? shapeText(value as number[])
      : `an array of ${value.length}`;
  }
  const name = (value.constructor as { name?: string } | undefined)?.name;
  return name && name !== 'Object' ? `a ${name}` : 'an object';
}

/** `[18, 512]` */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}

/** The options object itself, or an empty one; unknown keys are refused, with the nearest known one. */
export function checkOptions<T extends object>(value: T | undefined, keys: readonly string[], where: string): T {
  if (value === undefined) return {} as T;
  if (value === null || typeof value !== 'object' || Array.isArray(value) || ArrayBuffer.isView(value)) {
    fail('ARGUMENT', `${where}: the options must be an object, not ${show(value)}`, `Pass { ${keys.join(', ')} }.`);
  }
  for (const key of Object.keys(value)) {
    if (keys.includes(key)) continue;
    const near = nearest(key, keys);
    fail(
      'ARGUMENT',
      `${where}: there is no option '${key}'`,
      near ? `Did you mean '${near}'? Options: ${keys.join(', ')}.` : `Options: ${keys.join(', ')}.`,
    );
  }
  return value;
}

export function checkNumber(value: unknown, name: string, min = -Infinity, max = Infinity): number {
  if (typeof value !== 'number') fail('ARGUMENT', `${name} must be a number, not ${show(value)}`, `Pass a number.`);
  const range = min === -Infinity && max === Infinity ? 'finite' : `between ${min} and ${max}`;
  if (!Number.isFinite(value) || value < min || value > max) {
    fail('RANGE', `${name} is ${value}; it must be ${range}`, `Pass a number that is ${range}.`);
  }
  return value;
}

export function checkInteger(value: unknown, name: string, min: number, max = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number') fail('ARGUMENT', `${name} must be a number, not ${show(value)}`, 'Pass an integer.');
  const range = max === Number.MAX_SAFE_INTEGER ? `at least ${min}` : `between ${min} and ${max}`;
  if (!Number.isInteger(value) || value < min || value > max) {
    fail('RANGE', `${name} is ${value}; it must be an integer, ${range}`, `Pass an integer, ${range}.`);
  }
  return value;
}

/** A seed, 0 … 2^64 − 1, as the core takes it. */
export function checkSeed(value: unknown, name = 'seed'): bigint {
  const remedy = 'Pass an integer from 0 to 2^53 − 1, or a bigint from 0n to 2n ** 64n − 1n.';
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value) || value < 0)
      fail('RANGE', `${name} is ${value}; seeds are whole numbers below 2^64`, remedy);
    return BigInt(value);
  }
  if (typeof value !== 'bigint') fail('ARGUMENT', `${name} must be a number or a bigint, not ${show(value)}`, remedy);
  if (value < 0n || value >= 1n << 64n)
    fail('RANGE', `${name} is ${value}n; seeds are whole numbers below 2^64`, remedy);
  return value;
}

export function checkString(value: unknown, name: string): string {
  if (typeof value !== 'string') fail('ARGUMENT', `${name} must be a string, not ${show(value)}`, 'Pass a string.');
  return value;
}

export function checkBoolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') {
    fail('ARGUMENT', `${name} must be true or false, not ${show(value)}`, 'Pass true or false.');
  }
  return value;
}

export function checkOneOf<const T extends string>(value: unknown, name: string, allowed: readonly T[]): T {
  const list = allowed.map((a) => `'${a}'`).join(', ');
  if (typeof value !== 'string' || !(allowed as readonly string[]).includes(value)) {
    fail('ARGUMENT', `${name} must be one of ${list}, not ${show(value)}`, `Pass one of ${list}.`);
  }
  return value as T;
}

/** One number or a list of them, finite, at least one. */
export function checkNumbers(value: unknown, name: string): Float64Array {
  const list: unknown[] = typeof value === 'number' ? [value] : Array.isArray(value) ? value : [];
  if (list.length === 0) {
    fail(
      'ARGUMENT',
      `${name} must be a number or a non-empty array of numbers, not ${show(value)}`,
      'For example 4 or [-3, 0, 3].',
    );
  }
  return Float64Array.from(list, (v, i) => checkNumber(v, list.length > 1 ? `${name}[${i}]` : name));
}

/** One text or a list of them, at least one. */
export function checkTexts(value: unknown, name: string): readonly string[] {
  const list: unknown[] = typeof value === 'string' ? [value] : Array.isArray(value) ? value : [];
  if (list.length === 0) {
    fail('ARGUMENT', `${name} must be a string or a non-empty array of strings, not ${show(value)}`, 'Pass a text.');
  }
  return list.map((v, i) => checkString(v, `${name}[${i}]`));
}

/** A path or a file: URL, as a path. */
export function checkPath(value: unknown, name = 'file'): string {
  if (value instanceof URL && value.protocol === 'file:') return fileURLToPath(value);
  if (typeof value !== 'string' || value === '' || value.includes('\0')) {
    fail('ARGUMENT', `${name} must be a path, not ${show(value)}`, 'Pass a path as a string, or a file: URL.');
  }
  return value;
}

/** Refuses NaN and infinities, naming the first one's place. */
export function checkFinite(data: Float32Array | Float64Array, name: string, shape: readonly number[]): void {
  for (let i = 0; i < data.length; i++) {
    if (Number.isFinite(data[i])) continue;
    const place: number[] = [];
    for (let rest = i, d = shape.length - 1; d >= 0; d--) {
      place.unshift(rest % shape[d]!);
      rest = Math.floor(rest / shape[d]!);
    }
    fail(
      'NOT_FINITE',
      `${name} holds ${data[i]} at ${shapeText(place)}`,
      'Find where it was computed; only finite numbers can be used.',
    );
  }
}

/** Refuses what other code may change or take away while native code reads it. */
export function checkBuffer(data: ArrayBufferView, name: string): void {
  if (typeof SharedArrayBuffer !== 'undefined' && data.buffer instanceof SharedArrayBuffer) {
    fail('ARGUMENT', `${name} lies in shared memory`, 'Copy it first: data.slice().');
  }
}

/** Product of a shape's sizes; refuses negative or fractional ones. */
export function checkShape(value: unknown, name: string): number[] {
  if (
    !Array.isArray(value) ||
    value.length === 0 ||
    !value.every((n) => Number.isSafeInteger(n) && (n as number) >= 0)
  ) {
    fail('SHAPE', `${name} must be an array of whole numbers, not ${show(value)}`, 'For example [1, 18, 512].');
  }
  return value.map(Number);
}

export function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** The known word at the smallest edit distance, if that is at most 2. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = 3;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(previous[j]! + 1, row[j - 1]! + 1, change));
    }
    previous = row;
  }
  return previous[b.length]!;
}
