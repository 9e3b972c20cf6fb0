// Directions of z and w that other work found: InterFaceGAN's boundaries (arXiv 1907.10786; genforce/interfacegan and
// e4e's editings/interfacegan_directions) and GANSpace's principal components (arXiv 2004.02546; harskish/ganspace and
// e4e's editings/ganspace_pca). Plain data; Latents.move takes a step along one.

import { checkFinite, checkInteger, checkOneOf, checkOptions, checkPath, fail, shapeText } from './check.js';
import { arraysOf, readData, type DataArray } from './files/data.js';
import { npyFloat32, readNpy } from './files/npy.js';
import { readNpz } from './files/npz.js';

/** A direction in z or w; in w_plus it moves rows. */
export interface LatentDirection {
  readonly space: 'z' | 'w';
  /** [width]: one unit of strength. */
  readonly vector: Float32Array;
}

/** Options of {@link readBoundary} and {@link readComponents}. */
export interface LatentDirectionOptions {
  /** Default `'w'`; the files do not tell. InterFaceGAN has boundaries of both. */
  space?: 'z' | 'w' | undefined;
}

/**
 * An InterFaceGAN boundary: a file with one tensor [1, width] or [width], `.npy` or `.pt`; the unit normal of a hyperplane
 * between latents with and without an attribute, so that strength is a distance (e4e's examples use −5..5).
 *
 * @throws StyleClipError `FILE_NOT_FOUND`, `FILE_DAMAGED`, `FORMAT_UNKNOWN`, `SHAPE`, `NOT_FINITE`
 */
export async function readBoundary(file: string | URL, options?: LatentDirectionOptions): Promise<LatentDirection> {
  const path = checkPath(file);
  const space = spaceOf(options, 'readBoundary');
  const arrays = await arraysIn(path);
  const [first] = arrays.values();
  if (first === undefined || arrays.size !== 1) {
    return fail('FORMAT_UNKNOWN', `${path} holds ${arrays.size} arrays; a boundary is one`, FORMS);
  }
  const width = first.shape.at(-1) ?? 0;
  if (width === 0 || first.data.length !== width) {
    fail('SHAPE', `${path} has shape ${shapeText(first.shape)}; a boundary is [1, width]`, FORMS);
  }
  checkFinite(first.data, path, first.shape);
  return { space, vector: first.data };
}

/** Principal components of a latent space, the one of largest variance first. Plain data, but for its method. */
export interface LatentComponents {
  readonly space: 'z' | 'w';
  readonly count: number;
  readonly width: number;
  /** [count, width], unit rows. */
  readonly components: Float32Array;
  /** [width] */
  readonly mean: Float32Array;
  /** [count]: standard deviation of the latents along each component. */
  readonly stdev: Float32Array;
  /** Component i (0 is the first) scaled by its deviation: strength counts standard deviations. */
  direction(i: number): LatentDirection;
}

/**
 * GANSpace's components: harskish/ganspace's `.npz` (`lat_comp` [k, 1, width], `lat_mean` [1, width], `lat_stdev` [k], in
 * Fortran order too) or e4e's `.pt` (`comp`, `mean`, `std`).
 *
 * @throws StyleClipError `FILE_NOT_FOUND`, `FILE_DAMAGED`, `FORMAT_UNKNOWN` naming what is missing, `SHAPE`, `NOT_FINITE`
 */
export async function readComponents(file: string | URL, options?: LatentDirectionOptions): Promise<LatentComponents> {
  const path = checkPath(file);
  const space = spaceOf(options, 'readComponents');
  const arrays = await arraysIn(path);
  const array = (...names: readonly string[]): DataArray => {
    for (const name of names) {
      const found = arrays.get(name);
      if (found !== undefined) return found;
    }
    const held = [...arrays.keys()].join(', ') || 'no arrays';
    return fail('FORMAT_UNKNOWN', `${path} has no '${names.join("' or '")}'; it holds ${held}`, FORMS);
  };
  const components = array('lat_comp', 'comp');
  const mean = array('lat_mean', 'mean').data;
  const stdev = array('lat_stdev', 'std', 'stdev').data;
  const count = components.shape[0] ?? 0;
  const width = components.shape.at(-1) ?? 0;
  const fits = count > 0 && width > 0 && components.data.length === count * width;
  if (!fits || mean.length !== width || stdev.length !== count) {
    fail(
      'SHAPE',
      `${path}: components ${shapeText(components.shape)}, ${mean.length} means and ${stdev.length} deviations do not fit`,
      FORMS,
    );
  }
  checkFinite(components.data, `${path}, components`, components.shape);
  checkFinite(mean, `${path}, mean`, [width]);
  checkFinite(stdev, `${path}, deviations`, [count]);
  return {
    space,
    count,
    width,
    components: components.data,
    mean,
    stdev,
    direction(i) {
      const at = checkInteger(i, 'component', 0, count - 1);
      const vector = components.data.slice(at * width, (at + 1) * width).map((v) => v * stdev[at]!);
      return { space, vector };
    },
  };
}

const FORMS =
  'A boundary is one array [1, width] (.npy, .pt); components are lat_comp, lat_mean, lat_stdev (.npz) or comp, mean, std (.pt).';

function spaceOf(options: LatentDirectionOptions | undefined, where: string): 'z' | 'w' {
  return checkOneOf(checkOptions(options, ['space'], where).space ?? 'w', 'space', ['z', 'w']);
}

/** The arrays of a file, by name. */
async function arraysIn(path: string): Promise<ReadonlyMap<string, DataArray>> {
  if (/\.npy$/i.test(path)) {
    const array = await readNpy(path);
    return new Map([['', { data: npyFloat32(array), shape: array.shape }]]);
  }
  if (/\.npz$/i.test(path)) {
    const entries = [...(await readNpz(path))];
    return new Map(entries.map(([name, array]) => [name, { data: npyFloat32(array), shape: array.shape }]));
  }
  return new Map(arraysOf(await readData(path)).map((leaf) => [leaf.path.join('.'), leaf.value]));
}
