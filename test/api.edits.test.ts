/*
 * From a sweep to edited pictures, on tiny random models: the relevance, directions from planted numbers, edits that
 * compose, abort in mid-sweep, and a worker that does the same with clones.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import sharp from 'sharp';
import test from 'ava';
import {
  Generator,
  GlobalDirection,
  Relevance,
  StyleClipError,
  strengthVideo,
  TextDirection,
  type Images,
  type Progress,
  type RelevanceLike,
} from '../dist/index.js';
import { makeTiny, testFolder, TINY, tinyStyleClip } from './helpers/public-models.js';

const folder = await testFolder();
const tiny = await tinyStyleClip(folder.path);
const { generator, clip } = tiny;
const relevance = await tiny.sweep({ images: 3, layers: 'all', statisticsSamples: 300 });
const text = await clip.direction({ neutral: 'a cat', target: 'a fat cat' });
const direction = relevance.direction(text, { channels: 6 });
const w = await generator.sample({ count: 3, seed: 11 });
test.after.always(async () => {
  await tiny.close();
  await folder.remove();
});

const error = (name: string): { instanceOf: typeof StyleClipError; code: string } => ({
  instanceOf: StyleClipError,
  code: `ERR_STYLECLIP_${name}`,
});

function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  return Math.max(...Array.from(a, (v, i) => Math.abs(v - b[i]!)));
}

test('sweep: a unit row for every channel, and where it came from', (t) => {
  t.is(relevance.length, TINY.total);
  t.is(relevance.dim, TINY.embedding);
  for (let i = 0; i < relevance.length; i++) {
    const length = Math.hypot(...relevance.rows.subarray(i * relevance.dim, (i + 1) * relevance.dim));
    t.true(Math.abs(length - (relevance.counts[i]! > 0 ? 1 : 0)) < 1e-5);
    t.true(relevance.concentration[i]! >= 0 && relevance.concentration[i]! <= 1 + 1e-6);
  }
  t.true(relevance.counts.some((c) => c === 3));
  const { seconds, rendered, ...meta } = relevance.meta;
  t.true(seconds > 0);
  t.is(rendered, 2 * 3 * TINY.total);
  t.deepEqual(meta, {
    method: 'exact',
    implementation: 'exact',
    precision: 'float32',
    images: 3,
    sigmas: 5,
    perturb: 'absolute',
    layers: ['all'],
    preprocess: 'float',
    noise: 'const',
    seed: '0',
    truncationPsi: 0.7,
    truncationCutoff: -1,
    statisticsSamples: 300,
    generatorSha256: generator.info.sha256,
    clipSha256: clip.info.sha256,
    version: relevance.meta.version,
  });
});

test('sweep: one row, computed by hand from the public functions', async (t) => {
  const row = relevance.counts.indexOf(3);
  const channel = relevance.channels[row]!;
  const { total } = TINY;
  const s = await generator.sample({ count: 3, seed: 0, space: 's', truncationPsi: 0.7 });
  const unit = (v: Float64Array): Float64Array => {
    const length = Math.hypot(...v);
    return v.map((x) => x / length);
  };
  const sum = new Float64Array(relevance.dim);
  for (let i = 0; i < 3; i++) {
    const [plus, minus] = await Promise.all(
      [5, -5].map(async (k) => {
        const code = s.at(i);
        code.data[channel] = relevance.mean[channel]! + k * relevance.sigma[channel]!;
        const images = await generator.synthesize(code, { as: 'float32' });
        const { data } = await clip.encodeImages(images);
        return unit(Float64Array.from(data));
      }),
    );
    const d = unit(plus!.map((x, j) => x - minus![j]!));
    d.forEach((x, j) => (sum[j]! += x));
  }
  t.is(s.shape[1], total);
  t.true(difference(unit(sum), relevance.rows.subarray(row * relevance.dim, (row + 1) * relevance.dim)) < 1e-3);
  t.true(Math.abs(Math.hypot(...sum) / 3 - relevance.concentration[row]!) < 1e-3);
});

test('sweep: the same again; some layers are part of all', async (t) => {
  const again = await tiny.sweep({ images: 3, layers: ['b8.conv1'], statisticsSamples: 300, method: 'reference' });
  const layer = generator.layout.layers.find((l) => l.name === 'b8.conv1')!;
  t.deepEqual(
    [...again.channels],
    Array.from({ length: layer.channels }, (_, i) => layer.offset + i),
  );
  const rows = relevance.rows.subarray(layer.offset * relevance.dim, (layer.offset + layer.channels) * relevance.dim);
  t.true(difference(again.rows, rows) < 1e-4);
});

test('sweep: phases are reported, the last one to its end', async (t) => {
  const seen: Progress[] = [];
  await tiny.sweep({ images: 2, layers: ['b4.conv1'], statisticsSamples: 4000, onProgress: (p) => seen.push(p) });
  const phases = [...new Set(seen.map((p) => p.phase))];
  t.deepEqual(phases.length, 2);
  const last = seen.at(-1)!;
  t.is(last.done, last.total);
  t.true(last.total > 0);
});

test('sweep: abort in the middle rejects with the reason; the models live on', async (t) => {
  const controller = new AbortController();
  const reason = new Error('that is enough');
  const started = performance.now();
  const sweep = tiny.sweep({
    images: 5000,
    batch: 16,
    statisticsSamples: 300,
    signal: controller.signal,
    onProgress: (p) => p.phase !== 'statistics' && p.done > 0 && controller.abort(reason),
  });
  setTimeout(() => controller.abort(reason), 3000).unref();
  t.is(await t.throwsAsync(sweep, { any: true }), reason);
  t.true(performance.now() - started < 60_000);
  t.is((await generator.synthesize(w)).count, 3);
});

/** Layout of the tiny generator with planted rows: channel i of conv layers points where `rows[i]` says. */
function planted(rows: readonly (readonly [number, number])[]): Relevance {
  const { layers } = generator.layout;
  const n = rows.length;
  const like: RelevanceLike = {
    ...relevance,
    rows: Float32Array.from(rows.flat()),
    dim: 2,
    channels: Int32Array.from({ length: n }, (_, i) => i),
    counts: new Int32Array(n).fill(1),
    magnitude: new Float32Array(n).fill(1),
    concentration: Float32Array.from({ length: n }, (_, i) => 1 / (i + 1)),
    mean: new Float32Array(TINY.total),
    sigma: Float32Array.from({ length: TINY.total }, (_, i) => i + 1),
    layers,
    meta: { ...relevance.meta, clipSha256: 'planted' },
  };
  return Relevance.from(like);
}

function toward(x: number, y: number, target = 'x'): TextDirection {
  const length = Math.hypot(x, y);
  const unit = Float32Array.of(x / length, y / length);
  const texts = { target, neutral: 'n', templates: ['{}'], unknownWords: [], clipSha256: 'planted' };
  return TextDirection.from({ ...texts, direction: unit, length: 1, targetEmbedding: unit, neutralEmbedding: unit });
}

test('direction: planted rows, answers in closed form', (t) => {
  // r = 0.8, -0.6, 0.28, 0 for a text along the first axis.
  const r = planted([
    [0.8, 0.6],
    [-0.6, 0.8],
    [0.28, 0.96],
    [0, 1],
  ]);
  const d = r.direction(toward(1, 0), { beta: 0.5 });
  t.deepEqual(
    d.selected.map((c) => [c.index, c.channel, c.layer]),
    [
      [0, 0, 'b4.conv1'],
      [1, 1, 'b4.conv1'],
    ],
  );
  t.true(Math.abs(d.largest - 0.8) < 1e-6);
  // ΔS = σ r / max|r|: 1 · 1 and 2 · (-0.75)
  t.true(difference(d.delta.slice(0, 4), [1, -1.5, 0, 0]) < 1e-6);
  t.deepEqual(d.delta.slice(4), new Float32Array(TINY.total - 4));
  const paper = r.direction(toward(1, 0), { beta: 0.5, scaleBySigma: false, normaliseLargest: false });
  t.true(difference(paper.delta.slice(0, 4), [0.8, -0.6, 0, 0]) < 1e-6);
  // projection: r_c times 1, 1/2, 1/3, 1/4
  const projection = r.direction(toward(1, 0), {
    channels: 3,
    measure: 'projection',
    scaleBySigma: false,
    normaliseLargest: false,
  });
  t.true(difference(projection.delta.slice(0, 4), [0.8, -0.3, 0.28 / 3, 0]) < 1e-6);
  t.is(r.direction(toward(1, 0), { channels: 1 }).channels, 1);
  t.like(d.meta, { target: 'x', neutral: 'n', measure: 'cosine', generatorSha256: generator.info.sha256 });
});

test('direction: automatic β is the largest of 0.10…0.29 that keeps more than it must', (t) => {
  const angles = [0.35, 0.25, 0.205, 0.155, 0.12, 0.05];
  const r = planted(angles.map((x) => [x, Math.sqrt(1 - x * x)] as const));
  const d = r.direction(toward(1, 0), { automaticChannels: 2 });
  t.true(Math.abs(d.beta - 0.2) < 1e-9);
  t.is(d.channels, 3);
  const most = r.direction(toward(1, 0), { beta: 'auto', automaticChannels: 20 });
  t.true(Math.abs(most.beta - 0.1) < 1e-9);
  t.is(most.channels, 5);
});

test('direction: another text’s channels are left out', (t) => {
  const r = planted([
    [0.8, 0.6],
    [1, 0],
    [0.6, 0.8],
    [0.5, 0],
  ]);
  const both = r.direction(toward(1, 0), { beta: 0.3 });
  t.deepEqual(
    both.selected.map((c) => c.index),
    [1, 0, 2, 3],
  );
  const without = r.direction(toward(1, 0), { beta: 0.3, not: toward(0, 1, 'y') });
  t.deepEqual(
    without.selected.map((c) => c.index),
    [1, 3],
  );
  t.deepEqual(without.meta.not, ['y']);
  t.true(difference(without.delta.slice(0, 4), [0, 2, 0, 2]) < 1e-6);
  t.throws(() => r.direction(toward(1, 0), { beta: 0, not: toward(1, 0) }), error('EMPTY_SELECTION'));
});

test('direction: refused', (t) => {
  const r = planted([[0.8, 0.6]]);
  const empty = t.throws(() => r.direction(toward(1, 0), { beta: 0.9 }), error('EMPTY_SELECTION'));
  t.regex(empty?.message ?? '', /0\.8/);
  t.throws(() => r.direction(toward(1, 0), { beta: 0.1, channels: 1 }), error('ARGUMENT'));
  t.throws(() => r.direction(toward(1, 0), { beta: 2 }), error('RANGE'));
  t.throws(() => r.direction(toward(1, 0), { channels: 2 }), error('RANGE'));
  t.throws(() => r.direction(toward(1, 0), { measure: 'dot' as 'cosine' }), error('ARGUMENT'));
  t.throws(() => r.direction(null as never), error('ARGUMENT'));
  t.throws(() => r.direction(text), error('MODEL_MISMATCH'));
  t.throws(() => r.direction(text, { force: true }), error('SHAPE'));
  t.throws(() => relevance.direction(toward(1, 0)), error('MODEL_MISMATCH'));
});

test('edit: α 0 is the picture itself; S codes compose; α of either sign', async (t) => {
  const plain = await generator.synthesize(w, { as: 'float32' });
  const batch = await generator.edit(w, direction, { alpha: [-1, 0, 1, 2], as: 'float32' });
  t.is(batch.length, 12);
  for (let i = 0; i < 3; i++) t.true(difference(batch.at(i, 1).image.data, plain.at(i).data) < 1e-4);
  const s = await generator.styles(w);
  const code = batch.at(2, 3).latents;
  t.true(
    difference(
      code.data,
      s.at(2).data.map((v, c) => v + 2 * direction.delta[c]!),
    ) < 1e-4,
  );
  const twice = await generator.edit(batch.at(2, 2).latents, direction, { alpha: 1, as: 'float32' });
  t.true(difference(twice.at(0, 0).image.data, batch.at(2, 3).image.data) < 1e-3);
  const turned = await generator.edit(w, direction.scale(-1), { alpha: 1, as: 'float32' });
  t.true(difference(turned.at(1, 0).image.data, batch.at(1, 0).image.data) < 1e-4);
  t.is([...batch].length, 12);
  t.throws(() => batch.at(3, 0), error('RANGE'));
});

test('editEach: the same pictures in the same order, whatever the batch', async (t) => {
  const alpha = [-2, 0, 3];
  const whole = await generator.edit(w, direction, { alpha });
  for (const batch of [1, 2, 3, 7, 64]) {
    const seen: [number, number][] = [];
    for await (const { latent, alpha: strength, image } of generator.editEach(w, direction, { alpha, batch })) {
      const k = alpha.indexOf(strength);
      seen.push([latent, k]);
      t.true(difference(image.data, whole.images[latent]![k]!.data) <= 1);
    }
    t.deepEqual(
      seen,
      [0, 1, 2].flatMap((i) => [0, 1, 2].map((k): [number, number] => [i, k])),
    );
  }
});

test('edit: sheets and videos', async (t) => {
  const batch = await generator.edit(w, direction, { alpha: [0, 4] });
  await batch.contactSheet(join(folder.path, 'sheet.png'), { title: 'cats', rowLabels: ['1', '2', '3'] });
  t.true((await stat(join(folder.path, 'sheet.png'))).size > 100);
  for (const format of ['webp', 'gif'] as const) {
    const file = join(folder.path, `video.${format}`);
    const bytes = await strengthVideo(generator, w.slice(0, 2), direction, {
      from: -1,
      to: 3,
      frames: 4,
      width: 32,
      file,
    });
    const { pages, width, pageHeight } = await sharp(bytes, { animated: true }).metadata();
    t.deepEqual([pages, width, pageHeight], [6, 64, 32]);
    t.is((await stat(file)).size, bytes.length);
  }
  const png = join(folder.path, 'video.png');
  await t.throwsAsync(strengthVideo(generator, w, direction, { to: 1, file: png }), error('FORMAT_UNKNOWN'));
});

test('an fs3.npy goes out and comes back', async (t) => {
  const file = join(folder.path, 'fs3.npy');
  await relevance.exportNpy(file);
  const statistics = await generator.statistics({ samples: 300 });
  const back = await Relevance.importNpy(file, generator, { statistics });
  t.is(back.length, TINY.conv);
  t.is(back.meta.method, 'imported');
  const conv = relevance.layers
    .filter((l) => !l.toRgb)
    .flatMap((l) => Array.from({ length: l.channels }, (_, i) => l.offset + i));
  t.deepEqual([...back.channels], conv);
  for (const [i, index] of conv.entries()) {
    const { dim } = relevance;
    t.true(
      difference(back.rows.subarray(i * dim, (i + 1) * dim), relevance.rows.subarray(index * dim, (index + 1) * dim)) <
        1e-6,
    );
  }
  const d = back.direction(text, { channels: 4 });
  t.is(d.channels, 4);
  t.throws(() => back.direction(text, { channels: 4, measure: 'projection' }), error('ARGUMENT'));
  t.is((await generator.edit(w, d, { alpha: 1 })).length, 3);
});

test('what belongs to another generator is refused, unless forced', async (t) => {
  const file = await makeTiny(folder.path, 'generator', 'other', 99);
  await using other = await Generator.load(file, { device: 'cpu' });
  t.not(other.info.sha256, generator.info.sha256);
  await t.throwsAsync(other.synthesize(w), error('MODEL_MISMATCH'));
  await t.throwsAsync(
    other.edit(await other.sample({ count: 1, seed: 1 }), direction, { alpha: 1 }),
    error('MODEL_MISMATCH'),
  );
  t.is((await other.edit(w, direction, { alpha: 1, force: true })).length, 3);
  t.is((await other.synthesize(w, { force: true })).count, 3);
});

test('a worker edits with clones as this thread does', async (t) => {
  const worker = new Worker(new URL('../test/fixtures/api-worker.mjs', import.meta.url), {
    workerData: { generator: generator.info.file, relevance, text, latents: w },
  });
  const answer = await new Promise<{ direction: GlobalDirection; image: Images }>((resolve, reject) => {
    worker.once('message', resolve).once('error', reject);
  });
  const here = relevance.direction(text, { channels: 5 });
  t.deepEqual(GlobalDirection.from(answer.direction), here);
  const batch = await generator.edit(w, here, { alpha: [0, 2] });
  t.true(difference(answer.image.data, batch.at(1, 1).image.data) <= 1);
});
