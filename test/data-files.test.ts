/*
 * Data files of StyleCLIP and of others, written by torch, numpy and pickle themselves (tools/fixtures/
 * make_data_fixtures.py): latents in every form they are passed around in, statistics, sweeps, boundaries, components.
 */
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import {
  Generator,
  Latents,
  readBoundary,
  readComponents,
  readStyleStatistics,
  Relevance,
  StyleClipError,
  writeStyleStatistics,
} from '../dist/index.js';
import { makeTiny, testFolder, TINY } from './helpers/public-models.js';

const DATA = fileURLToPath(new URL('../test/data/data-files/', import.meta.url));
const HOSTILE = fileURLToPath(new URL('../test/data/checkpoints/', import.meta.url));
/** Channels of every layer of the tiny generator, in synthesis order. */
const LAYERS = [12, 12, 12, 10, 10, 10, 8, 8];

let folder: { path: string; remove: () => Promise<void> };
let generator: Generator;

test.before(async () => {
  folder = await testFolder();
  generator = await Generator.load(await makeTiny(folder.path, 'generator'), { device: 'cpu' });
});

test.after.always(async () => {
  await generator.close();
  await folder.remove();
});

/** The fixtures' numbers. */
function numbers(seed: number, count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => (((7 * i + 3 * seed) % 31) - 15) / 8);
}

const code = (name: string) => ({ instanceOf: StyleClipError, code: `ERR_STYLECLIP_${name}` });

for (const [file, seed, n] of [
  ['latents.pt', 1, 3],
  ['latents-legacy.pt', 1, 3],
  ['latents-half.pt', 2, 2],
  ['latents-strided.pt', 2, 2],
  ['projected_w.npz', 5, 1],
  ['w_plus.npy', 6, 2],
] as const) {
  test(`latents: ${file}`, async (t) => {
    const latents = await Latents.load(join(DATA, file));
    t.is(latents.space, 'w_plus');
    t.deepEqual(latents.shape, [n, TINY.rows, TINY.wDim]);
    t.deepEqual(latents.data, numbers(seed, n * TINY.rows * TINY.wDim));
    await t.notThrowsAsync(generator.synthesize(latents), 'of the right shape for the generator');
  });
}

test('latents: a list, a dictionary with the names of the pictures, a projector’s file', async (t) => {
  const each = TINY.rows * TINY.wDim;
  const both = Float32Array.of(...numbers(1, each), ...numbers(2, each));
  const list = await Latents.load(join(DATA, 'latents-list.pt'));
  t.deepEqual([list.data, [...list.shape]], [both, [2, TINY.rows, TINY.wDim]]);
  const named = await Latents.load(join(DATA, 'latents-dict.pt'));
  t.deepEqual(named.data, both);
  t.deepEqual(named.meta['names'], ['faces/anna.png', 'faces/ben.png']);
  const projected = await Latents.load(join(DATA, 'projected.pt'));
  t.deepEqual([projected.data, projected.shape[0]], [numbers(4, each), 1]);
});

test('latents: one [rows, w] is a batch only when it is said to be w_plus', async (t) => {
  const file = join(DATA, 'one-latent.pt');
  await t.throwsAsync(Latents.load(file), code('ARGUMENT'));
  const one = await Latents.load(file, { space: 'w_plus' });
  t.deepEqual(one.shape, [1, TINY.rows, TINY.wDim]);
  t.deepEqual((await Latents.load(file, { space: 'w' })).shape, [TINY.rows, TINY.wDim]);
  t.deepEqual((await Latents.load(join(DATA, 'W.npy'), { space: 'w' })).data, numbers(7, 5 * TINY.wDim));
});

test('latents of S: a tensor [n, 1, c, 1, 1] a layer, and the S of the released code', async (t) => {
  const layered = (n: number): Float32Array => {
    const all = new Float32Array(n * TINY.total);
    for (let i = 0; i < n; i++) {
      let offset = i * TINY.total;
      for (const [layer, width] of LAYERS.entries()) {
        all.set(numbers(layer, n * width).subarray(i * width, (i + 1) * width), offset);
        offset += width;
      }
    }
    return all;
  };
  const { layout } = generator;
  const styles = await Latents.load(join(DATA, 'styles.pt'), { layout });
  t.deepEqual([styles.space, [...styles.shape], styles.data], ['s', [2, TINY.total], layered(2)]);
  const released = await Latents.load(join(DATA, 'S'));
  t.deepEqual([released.space, [...released.shape], released.data], ['s', [3, TINY.total], layered(3)]);
  const other = { layers: layout.layers.slice(0, 5) };
  await t.throwsAsync(Latents.load(join(DATA, 'styles.pt'), { layout: other }), code('SHAPE'));
  await t.throwsAsync(Latents.load(join(DATA, 'styles.pt'), { space: 'w_plus' }), code('ARGUMENT'));
});

test('latents: what is none, is damaged or would run code is refused', async (t) => {
  const none = await t.throwsAsync(Latents.load(join(DATA, 'ganspace.pt')), code('FORMAT_UNKNOWN'));
  t.regex(none.message, /'mean' \[1, 16\]/);
  const whole = await readFile(join(DATA, 'latents.pt'));
  await writeFile(join(folder.path, 'cut.pt'), whole.subarray(0, whole.length - 100));
  await t.throwsAsync(Latents.load(join(folder.path, 'cut.pt')), code('FILE_DAMAGED'));
  const flipped = Buffer.from(whole);
  flipped[Math.floor(whole.length / 2)]! ^= 1;
  await writeFile(join(folder.path, 'flipped.pt'), flipped);
  await t.throwsAsync(Latents.load(join(folder.path, 'flipped.pt')), code('FILE_DAMAGED'));
  await writeFile(join(folder.path, 'text.pt'), 'no latents');
  await t.throwsAsync(Latents.load(join(folder.path, 'text.pt')), code('FORMAT_UNKNOWN'));
  for (const file of ['hostile-exec.pkl', 'hostile-zip.pt', 'hostile-legacy.pth']) {
    const refused = await t.throwsAsync(Latents.load(join(HOSTILE, file)), { instanceOf: StyleClipError });
    t.regex(refused.code, /FORMAT_UNKNOWN|FILE_DAMAGED/, file);
  }
  await t.throwsAsync(Latents.load(join(folder.path, 'missing.pt')), code('FILE_NOT_FOUND'));
  await t.throwsAsync(Latents.load(folder.path), code('FILE_NOT_FOUND'));
});

/** The statistics of the fixtures. */
function statistics(): { mean: Float32Array; sigma: Float32Array } {
  const mean = LAYERS.flatMap((width, layer) => [...numbers(layer, width)]);
  const sigma = LAYERS.flatMap((width, layer) => [...numbers(layer + 20, width)].map((v) => Math.abs(v) + 1));
  return { mean: Float32Array.from(mean), sigma: Float32Array.from(sigma) };
}

test('S_mean_std: read in both protocols, and written as Python reads it', async (t) => {
  const { layout } = generator;
  for (const protocol of [2, 4]) {
    const read = await readStyleStatistics(join(DATA, `S_mean_std-protocol${protocol}`), layout);
    t.deepEqual({ mean: read.mean, sigma: read.sigma }, statistics());
    t.deepEqual([read.samples, read.seed, read.truncationPsi], [100_000, '5', 0.7]);
  }
  const written = join(folder.path, 'S_mean_std');
  await writeStyleStatistics(written, statistics(), layout);
  // make_data_fixtures.py reads this file with pickle.load and compares.
  t.deepEqual(await readFile(written), await readFile(join(DATA, 'S_mean_std-written')));
  const back = await readStyleStatistics(written, layout, { samples: 7, generatorSha256: 'f00d' });
  t.deepEqual({ mean: back.mean, sigma: back.sigma }, statistics());
  t.deepEqual([back.samples, back.generatorSha256], [7, 'f00d']);
  await t.throwsAsync(readStyleStatistics(join(DATA, 'latents-list.pt'), layout), code('FORMAT_UNKNOWN'));
  await t.throwsAsync(readStyleStatistics(written, { layers: layout.layers.slice(0, 5) }), code('SHAPE'));
  await t.throwsAsync(
    writeStyleStatistics(written, { mean: new Float32Array(3), sigma: new Float32Array(3) }, layout),
    code('SHAPE'),
  );
});

test('fs3.npy: with a layout and statistics alone, whole or its first layers; out again as it was', async (t) => {
  const { layout } = generator;
  const released = await readStyleStatistics(join(DATA, 'S_mean_std-protocol2'), layout);
  const relevance = await Relevance.importNpy(join(DATA, 'fs3.npy'), { layout }, { statistics: released });
  t.is(relevance.length, TINY.conv);
  t.deepEqual(relevance.sigma, statistics().sigma);
  t.is(relevance.meta.generatorSha256, '');
  const first = numbers(11, TINY.embedding);
  const length = Math.hypot(...first);
  for (const [i, value] of first.entries()) t.true(Math.abs(relevance.rows[i]! - value / length) < 1e-6);
  await relevance.exportNpy(join(folder.path, 'fs3.npy'));
  const again = await Relevance.importNpy(join(folder.path, 'fs3.npy'), { layout }, { statistics: released });
  for (const [i, value] of relevance.rows.entries()) t.true(Math.abs(again.rows[i]! - value) < 1e-6);
  const some = await Relevance.importNpy(join(DATA, 'fs3-first-layers.npy'), { layout }, { statistics: released });
  t.is(some.length, 24);
  // The second conv layer is the third of S: toRGB of 4 pixels lies between.
  t.deepEqual([some.channelAt(11).layer, some.channelAt(12).layer], ['b4.conv1', 'b8.conv0']);
  await t.throwsAsync(Relevance.importNpy(join(DATA, 'fs3.npy'), { layout }), code('ARGUMENT'));
});

test('InterFaceGAN’s boundaries move z, w, and rows of w_plus', async (t) => {
  const expected = numbers(12, TINY.wDim);
  for (const file of ['boundary.npy', 'boundary.pt']) {
    t.deepEqual(await readBoundary(join(DATA, file)), { space: 'w', vector: expected });
  }
  const boundary = await readBoundary(join(DATA, 'boundary.npy'));
  const latents = await Latents.load(join(DATA, 'latents.pt'));
  const moved = latents.move(boundary, 2, { rows: [4, 6] });
  for (const [i, value] of moved.data.entries()) {
    const row = Math.floor(i / TINY.wDim) % TINY.rows;
    t.is(value, latents.data[i]! + (row >= 4 ? 2 * expected[i % TINY.wDim]! : 0));
  }
  t.deepEqual(latents.move(boundary, 0).data, latents.data);
  const w = Latents.from(numbers(1, TINY.wDim), [1, TINY.wDim], 'w');
  t.deepEqual(
    w.move(boundary, -1).data,
    w.data.map((v, i) => v - expected[i]!),
  );
  t.throws(() => latents.move({ space: 'z', vector: expected }, 1), code('ARGUMENT'));
  t.throws(() => latents.move({ space: 'w', vector: expected.slice(1) }, 1), code('SHAPE'));
  t.throws(() => latents.move(boundary, 1, { rows: [2, 7] }), code('RANGE'));
  t.throws(() => w.move(boundary, 1, { rows: [0, 1] }), code('ARGUMENT'));
  t.throws(() => latents.move(boundary, NaN), code('RANGE'));
  await t.throwsAsync(readBoundary(join(DATA, 'ganspace.npz')), code('FORMAT_UNKNOWN'));
  await t.throwsAsync(readBoundary(join(DATA, 'latents.pt')), code('SHAPE'));
});

test('GANSpace’s components: .npz in Fortran order, .pt of e4e', async (t) => {
  for (const file of ['ganspace.npz', 'ganspace.pt']) {
    const pca = await readComponents(join(DATA, file));
    t.deepEqual([pca.space, pca.count, pca.width], ['w', 4, TINY.wDim], file);
    t.deepEqual(pca.components, numbers(13, 4 * TINY.wDim), file);
    t.deepEqual(pca.mean, numbers(14, TINY.wDim));
    t.deepEqual(pca.stdev, numbers(15, 4));
    const third = numbers(13, 4 * TINY.wDim).slice(2 * TINY.wDim, 3 * TINY.wDim);
    t.deepEqual(pca.direction(2), { space: 'w', vector: third.map((v) => v * numbers(15, 4)[2]!) });
    t.throws(() => pca.direction(4), code('RANGE'));
  }
  const missing = await t.throwsAsync(readComponents(join(DATA, 'boundary.pt')), code('FORMAT_UNKNOWN'));
  t.regex(missing.message, /no 'lat_comp' or 'comp'/);
});

test('the suffix does not matter to what torch wrote', async (t) => {
  await copyFile(join(DATA, 'latents.pt'), join(folder.path, 'latents'));
  t.is((await Latents.load(join(folder.path, 'latents'))).length, 3);
});
