/*
 * Wrong arguments for the raw interface: every function, argument and property is replaced in turn by values of wrong types,
 * ranges and shapes, and each call has to work or to fail with one of the package's codes.
 */
import { join } from 'node:path';
import type { NativeArray, NativeModel } from '../../dist/native.js';
import type { NativeError, TestAddon } from './addon.js';
import { tensor } from './native-models.js';

export type Loose = (...args: unknown[]) => unknown;

/** What the wrong values are made of and written to. */
export interface Surroundings {
  addon: TestAddon;
  /** The models, that every argument gets in turn too. */
  models: Record<string, NativeModel>;
  folder: string;
}

/** An array whose buffer went to another thread. */
export function transferred(): Float32Array {
  const array = new Float32Array(32);
  structuredClone(array, { transfer: [array.buffer] });
  return array;
}

/** Values that are wrong nearly everywhere. A fresh list each time: some are used up. */
function wrongValues({ addon, models }: Surroundings): unknown[] {
  const thrower = {
    get data(): never {
      throw new RangeError('from a getter');
    },
    shape: [1],
  };
  return [
    undefined,
    null,
    true,
    NaN,
    -1,
    0.5,
    1e300,
    -Infinity,
    2 ** 53,
    '',
    'nonsense',
    'a\0b',
    '\ud800',
    -1n,
    2n ** 64n,
    Symbol('s'),
    () => 1,
    {},
    Object.create(null),
    thrower,
    new Proxy({}, { get: () => ({}) }),
    [],
    [1, 2],
    ['nonsense'],
    [null],
    new Array(2 ** 32 - 1),
    new Float32Array(0),
    new Float32Array(3),
    new Float64Array(3).fill(NaN),
    new BigUint64Array(2),
    new Uint8ClampedArray(4),
    new DataView(new ArrayBuffer(8)),
    new ArrayBuffer(8),
    new Float32Array(new SharedArrayBuffer(128)),
    transferred(),
    tensor(new Float32Array(4), 2, 3),
    tensor(new Float32Array(0), 0, 5),
    tensor(new Float32Array(4), -2, -2),
    tensor(new Float32Array(4), 2 ** 32, 2 ** 32),
    tensor(new Float32Array(4), NaN),
    tensor(new Float32Array(6).fill(NaN), 2, 3),
    tensor(new Float32Array(1), ...new Array<number>(40).fill(1)),
    tensor(transferred(), 32),
    tensor(new Float32Array(new SharedArrayBuffer(128)), 32),
    tensor(new BigInt64Array(16), 1, 16),
    tensor(new Uint16Array(32), 2, 16),
    tensor(new Uint8Array(768), 1, 16, 16, 3),
    tensor(Int32Array.from([30, -7, 1e9, 0, 0, 0, 0, 0]), 1, 8),
    { data: new Float32Array(1), shape: { length: 1 } },
    addon.createCancel(),
    Object.create(addon.createCancel()),
    ...Object.values(models),
    Object.create(models['generator']!),
  ];
}

/** Codes that are no answer to wrong arguments: they say that libtorch was reached with them. */
const BUGS = new Set(['ERR_STYLECLIP_INTERNAL']);

/** undefined when the call worked or failed as it should, else what is wrong with it. */
export async function complaint(call: Loose, args: unknown[]): Promise<string | undefined> {
  let error: NativeError;
  try {
    const result: unknown = await call(...args);
    // A load that worked after all must not stay loaded.
    if (result !== null && typeof result === 'object' && 'close' in result) await (result as NativeModel).close();
    return undefined;
  } catch (e) {
    error = e as NativeError;
  }
  if (error instanceof RangeError && error.message === 'from a getter') return undefined;
  if (error.code === 'ABORTED') return undefined;
  if (typeof error.code !== 'string' || !error.code.startsWith('ERR_STYLECLIP_')) return `no code: ${error.stack}`;
  if (BUGS.has(error.code)) return `${error.code}: ${error.message}: ${error.causeText.split('\n')[0]}`;
  if (typeof error.remedy !== 'string' || error.remedy === '') return `no remedy: ${error.message}`;
  return undefined;
}

/**
 * The properties to try: all, or of a state's tensors (`weights.a`, `weights.b`, …) the first and the last with each prefix,
 * since the binding reads them all in one loop.
 */
function representatives(argument: object): string[] {
  const keys = Object.keys(argument);
  const prefix = (key: string): string => (key.includes('.') ? key.slice(0, key.indexOf('.')) : key);
  return keys.filter((key, i) => {
    const same = (other: string | undefined): boolean => other !== undefined && prefix(other) === prefix(key);
    return !(same(keys[i - 1]) && same(keys[i + 1]));
  });
}

/** The argument lists that differ from a valid one in one argument or one property of an argument. */
export function* mutations(valid: unknown[], around: Surroundings): Generator<[string, unknown[]]> {
  for (let count = 0; count < valid.length; count += 1) yield [`${count} arguments`, valid.slice(0, count)];
  for (let position = 0; position < valid.length; position += 1) {
    for (const [i, value] of wrongValues(around).entries())
      yield [`argument ${position}, value ${i}`, valid.with(position, value)];
    const argument = valid[position];
    if (Array.isArray(argument)) {
      for (const [i, value] of wrongValues(around).entries()) {
        yield [`argument ${position}[0], value ${i}`, valid.with(position, [value])];
      }
    }
    if (typeof argument !== 'object' || argument === null || Object.getPrototypeOf(argument) !== Object.prototype)
      continue;
    for (const key of representatives(argument)) {
      for (const [i, wrong] of wrongValues(around).entries()) {
        // `make` may well write a file of that name, and `openSweep` make a directory: not into the working directory.
        const value =
          ['file', 'directory'].includes(key) && typeof wrong === 'string' ? join(around.folder, wrong) : wrong;
        yield [`argument ${position}.${key}, value ${i}`, valid.with(position, { ...argument, [key]: value })];
      }
    }
  }
}

type Path = (string | number)[];

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

function isTensor(value: unknown): value is { data: NativeArray; shape: number[] } {
  return isPlain(value) && ArrayBuffer.isView(value['data']) && Array.isArray(value['shape']);
}

/** The places of tensors in a value, to the depth where the interface has them. */
function* tensorPaths(value: unknown, path: Path = []): Generator<Path> {
  if (isTensor(value)) yield path;
  else if (Array.isArray(value)) for (const [i, item] of value.entries()) yield* tensorPaths(item, [...path, i]);
  else if (isPlain(value)) for (const key of representatives(value)) yield* tensorPaths(value[key], [...path, key]);
}

function at(value: unknown, path: Path): unknown {
  return path.reduce((inner, key) => (inner as Record<string | number, unknown>)[key], value);
}

/** A copy with another value in one place; undefined as the value leaves the property out. */
function replaced(value: unknown, [key, ...rest]: Path, by: unknown): unknown {
  if (key === undefined) return by;
  const copy = (Array.isArray(value) ? [...(value as unknown[])] : { ...(value as object) }) as Record<
    Path[0],
    unknown
  >;
  const inner = replaced(copy[key], rest, by);
  if (inner === undefined && !Array.isArray(value)) Reflect.deleteProperty(copy, key);
  else copy[key] = inner;
  return copy;
}

/** The argument lists in which one tensor, however deep, is missing, or of another size, rank or type, or detached. */
export function* tensorMutations(valid: unknown[]): Generator<[string, unknown[]]> {
  for (const path of tensorPaths(valid)) {
    const { data, shape } = at(valid, path) as { data: NativeArray; shape: number[] };
    const rows = shape[0] ?? 1;
    const twice = new (data.constructor as new (length: number) => NativeArray)(2 * data.length);
    const gone = data.slice();
    structuredClone(gone, { transfer: [gone.buffer] });
    const other = data instanceof Float32Array ? new Float64Array(data.length) : new Float32Array(data.length);
    const variants: Record<string, unknown> = {
      missing: undefined,
      'half the data': { data: data.subarray(0, data.length >> 1), shape },
      'twice the data': { data: twice, shape },
      'twice the rows': { data: twice, shape: [2 * rows, ...shape.slice(1)] },
      'no rows': { data: data.slice(0, 0), shape: [0, ...shape.slice(1)] },
      'an empty last dimension': { data: data.slice(0, 0), shape: [...shape.slice(0, -1), 0] },
      'a rank more': { data, shape: [1, ...shape] },
      'a rank less': { data, shape: [data.length] },
      'no rank': { data: data.slice(0, 1), shape: [] },
      reversed: { data, shape: shape.toReversed() },
      'a shape of fractions': { data, shape: shape.map((size) => size + 0.5) },
      'another type': { data: other, shape },
      'sixteen bits': { data: new Uint16Array(data.length), shape },
      detached: { data: gone, shape },
    };
    for (const [what, by] of Object.entries(variants)) {
      const args = replaced(valid, path, by) as unknown[];
      yield [`${path.join('.')}: ${what}`, args];
    }
  }
}

/** States of a run's own shapes whose numbers are no run's, each with one tensor or number changed. */
export function* hostileStates(state: object): Generator<[string, unknown]> {
  for (const path of tensorPaths(state)) {
    const { data, shape } = at(state, path) as { data: NativeArray; shape: number[] };
    const values =
      data instanceof BigInt64Array
        ? [-1n, 1n, 2n, 5n, 2n ** 31n, 2n ** 62n, -(2n ** 63n)]
        : data instanceof Float64Array
          ? [NaN, Infinity, -Infinity, -1, 0.5, 5, 1e300]
          : [NaN, 1e300];
    for (const value of values) {
      const wrong = data.slice();
      // Where each number has a place of its own (`numbers`), all at once would hide the later ones behind the first.
      const each = data.length <= 3 ? [...data.keys()] : [-1];
      for (const place of each) {
        const copy = wrong.slice();
        if (place < 0) copy.fill(value as never);
        else copy[place] = value as never;
        yield [`${path.join('.')}[${place}] = ${value}`, replaced(state, path, { data: copy, shape })];
      }
    }
  }
  for (const [key, value] of Object.entries(state)) {
    if (typeof value !== 'number') continue;
    for (const wrong of [NaN, Infinity, -Infinity, -2, -1, 0, 4, 5, 2 ** 31 - 1, 2 ** 53]) {
      yield [`${key} = ${wrong}`, { ...state, [key]: wrong }];
    }
  }
}
