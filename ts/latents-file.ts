// Latents as other tools keep them: e4e's latents.pt and StyleCLIP's train_faces.pt (one tensor), lists and dictionaries of
// tensors, StyleCLIP's S files (a list with one tensor a layer), NVIDIA's projected_w.npz.

import { fail, shapeText } from './check.js';
import { arraysOf, type DataArray, type DataLeaf } from './files/data.js';
import { npyFloat32, type NpyArray } from './files/npy.js';
import type { Space, StyleLayout } from './types.js';

/** Latents as read, before they are checked. */
export interface LatentsRead {
  readonly data: Float32Array;
  readonly shape: readonly number[];
  readonly space: Space;
  /** One a latent, where the file names them: paths of pictures. */
  readonly names?: readonly string[];
}

/** What the caller says about a file that does not tell itself. */
export interface LatentsHints {
  readonly space: Space | undefined;
  readonly layout: Pick<StyleLayout, 'layers'> | undefined;
}

/** The latents among the values of a file. `FORMAT_UNKNOWN` or `SHAPE` when there are none, `ARGUMENT` without a space. */
export function latentsIn(leaves: readonly DataLeaf[], file: string, hints: LatentsHints): LatentsRead {
  const arrays = latentArrays(arraysOf(leaves));
  if (arrays.length === 0) return fail('FORMAT_UNKNOWN', `${file} holds no arrays of numbers`, FORMS);
  const layers = styleLayers(arrays.map((a) => a.value));
  if (layers !== undefined) return fromLayers(layers, file, hints);
  if (arrays.length === 1 && !isDictionary(arrays[0]!)) return fromArray(arrays[0]!.value, file, hints);
  const first = arrays[0]!;
  for (const { value, path } of arrays) {
    if (shapeText(one(value.shape)) === shapeText(one(first.value.shape))) continue;
    fail(
      'FORMAT_UNKNOWN',
      `${file} is no file of latents: '${first.path.join('.')}' is ${shapeText(first.value.shape)}, ` +
        `'${path.join('.')}' ${shapeText(value.shape)}`,
      FORMS,
    );
  }
  const each = one(first.value.shape);
  const data = new Float32Array(arrays.length * first.value.data.length);
  for (const [i, { value }] of arrays.entries()) data.set(value.data, i * value.data.length);
  const read = fromArray({ data, shape: [arrays.length, ...each] }, file, hints);
  return isDictionary(first) ? { ...read, names: arrays.map(({ path }) => path[0]!) } : read;
}

/** NVIDIA's projector writes `w` [1, rows, w]; any other .npz needs to hold one array alone. */
export function npzLatents(arrays: ReadonlyMap<string, NpyArray>, file: string, hints: LatentsHints): LatentsRead {
  const chosen = arrays.get('w') ?? arrays.get('latents') ?? (arrays.size === 1 ? [...arrays.values()][0] : undefined);
  if (chosen === undefined) {
    fail('FORMAT_UNKNOWN', `${file} holds ${[...arrays.keys()].join(', ') || 'nothing'}`, "An array 'w' is needed.");
  }
  return fromArray({ data: npyFloat32(chosen), shape: chosen.shape }, file, hints);
}

const FORMS =
  'Latents are a tensor [n, rows, w] or [n, w], a list or dictionary of such, or one [n, 1, channels, 1, 1] a layer.';

type ArrayLeaf = DataLeaf & { readonly value: DataArray };

/** Rosinality's projector keeps picture, noise and latent of each file: of such, the latents. */
function latentArrays(arrays: readonly ArrayLeaf[]): readonly ArrayLeaf[] {
  const named = arrays.filter(({ path }) => ['latent', 'latents', 'latent_code'].includes(path.at(-1) ?? ''));
  return named.length > 0 ? named : arrays;
}

/** Whether the first step to a leaf is a key and not a place in a list. */
function isDictionary({ path }: DataLeaf): boolean {
  return path.length > 0 && !/^\d+$/.test(path[0]!);
}

/** The shape of one latent: a leading 1 is a batch of one. */
function one(shape: readonly number[]): readonly number[] {
  return shape.length > 1 && shape[0] === 1 ? shape.slice(1) : shape;
}

/**
 * The arrays of S, [n, channels] a layer, when the file is such: tensors [n, 1, c, 1, 1] (rosinality's), or a list of
 * matrices of as many rows and different widths (GetCode.py's `S`).
 */
function styleLayers(arrays: readonly DataArray[]): DataArray[] | undefined {
  const n = arrays[0]!.shape[0]!;
  const flat = arrays.map((a): DataArray | undefined => {
    const { shape } = a;
    const conv = shape.length === 5 && shape[0] === n && shape[1] === 1 && shape[3] === 1 && shape[4] === 1;
    if (conv) return { data: a.data, shape: [n, shape[2]!] };
    return shape.length === 2 && shape[0] === n ? a : undefined;
  });
  // A generator of k blocks has 3k − 1 layers of S.
  const widths = new Set(flat.map((a) => a?.shape[1]));
  const known = arrays.length >= 5 && arrays.length % 3 === 2 && !flat.includes(undefined);
  const unlikeRows = arrays[0]!.shape.length === 5 || widths.size > 1;
  return known && unlikeRows ? (flat as DataArray[]) : undefined;
}

/** [n, c] a layer → [n, all channels]. */
function fromLayers(layers: readonly DataArray[], file: string, hints: LatentsHints): LatentsRead {
  if (hints.space !== undefined && hints.space !== 's') {
    fail('ARGUMENT', `${file} holds styles, not ${hints.space} latents`, "Pass { space: 's' } or leave it out.");
  }
  const widths = layers.map((l) => l.shape[1]!);
  const wanted = hints.layout?.layers.map((l) => l.channels);
  if (wanted !== undefined && shapeText(wanted) !== shapeText(widths)) {
    fail(
      'SHAPE',
      `${file} has layers of ${shapeText(widths)} channels; the generator has ${shapeText(wanted)}`,
      'Use the generator that it was made with.',
    );
  }
  const n = layers[0]!.shape[0]!;
  const total = widths.reduce((a, b) => a + b, 0);
  const data = new Float32Array(n * total);
  let offset = 0;
  for (const { data: part, shape } of layers) {
    const width = shape[1]!;
    for (let i = 0; i < n; i++) data.set(part.subarray(i * width, (i + 1) * width), i * total + offset);
    offset += width;
  }
  return { data, shape: [n, total], space: 's' };
}

/** One array of all latents. [rows, w] is taken for one latent only when w_plus is asked for by name. */
function fromArray({ data, shape }: DataArray, file: string, hints: LatentsHints): LatentsRead {
  const space = hints.space ?? (shape.length === 3 ? 'w_plus' : undefined);
  if (space === undefined) {
    return fail(
      'ARGUMENT',
      `${file} does not say which space its ${shapeText(shape)} numbers are in`,
      "Pass { space: 'z', 'w' or 's' }, or 'w_plus' for one latent [rows, w].",
    );
  }
  if (space === 'w_plus' && shape.length === 2) return { data, shape: [1, ...shape], space };
  if (space !== 'w_plus' && shape.length === 3 && shape[1] === 1) return { data, shape: [shape[0]!, shape[2]!], space };
  return { data, shape, space };
}
