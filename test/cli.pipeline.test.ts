/*
 * The command line at work, on the smallest models that there can be: every command from making an archive to an edited
 * picture, what it prints as text and as JSON, pipes, and Ctrl-C in the middle of a sweep.
 */
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import sharp from 'sharp';
import { Latents } from 'styleclip';
import { formatNpy } from '../dist/files/npy.js';
import { styleclip, temporaryFolder, type Ended, type RunSettings } from './helpers/cli.js';
import { makeTinyModels, type TinyModels } from './helpers/tiny-models.js';

const DIRECTION = ['--target', 'a cute cat', '--neutral', 'a cat', '--channels', '5'];
const SWEEP = ['--images', '2', '--statistics-samples', '200'];

let folder: { path: string; remove: () => Promise<void> };
let models: TinyModels;
let relevance: string;

const run = async (args: readonly string[], settings: Partial<RunSettings> = {}): Promise<Ended> =>
  styleclip(args, { cwd: folder.path, ...settings });

/** Runs with --json and returns the result of a success, checked in form. */
async function result(...args: string[]): Promise<Record<string, unknown>> {
  const ended = await run([...args, '--json']);
  if (ended.code !== 0) throw new Error(`${args.join(' ')}: exit ${ended.code}\n${ended.stdout}${ended.stderr}`);
  const object = JSON.parse(ended.stdout) as Record<string, unknown>;
  const keys = Object.keys(object).join();
  if (keys !== 'ok,command,version,result' || object['ok'] !== true || object['command'] !== args[0]) {
    throw new Error(`${args[0]} printed ${ended.stdout}`);
  }
  return object['result'] as Record<string, unknown>;
}

test.before(async () => {
  folder = await temporaryFolder();
  models = await makeTinyModels(folder.path);
  relevance = join(folder.path, 'tiny.relevance.safetensors');
  const swept = await run(['sweep', ...SWEEP, ...models.flags, '--out', relevance]);
  if (swept.code !== 0) throw new Error(swept.stderr);
});

test.after.always(async () => folder.remove());

test('make: file, parameters, bytes, sha256; the same seed makes the same file', async (t) => {
  const args = ['make', 'stylegan2', '--size', '8', '--channels', '4,4', '--style-width', '8', '--seed', '5'];
  const one = await result(...args, '--out', 'one.pt');
  t.deepEqual(Object.keys(one), ['file', 'kind', 'parameters', 'bytes', 'sha256']);
  t.is(one['bytes'], (await stat(join(folder.path, 'one.pt'))).size);
  t.true((one['parameters'] as number) > 0);
  const again = await run([...args, '--out', 'one.pt', '--json']);
  t.is(again.code, 3, 'there already');
  t.is((await result(...args, '--out', 'one.pt', '--force'))['sha256'], one['sha256']);
  const other = [...args.slice(0, -1), '6'];
  t.not((await result(...other, '--out', 'two.pt'))['sha256'], one['sha256']);
  const refused = await run(['make', 'stylegan2', '--size', '24', '--out', 'three.pt']);
  t.is(refused.code, 2, refused.stderr);
  t.false((await readdir(folder.path)).includes('three.pt'));
});

test('info: what the archive says, its style layers, and the same from a pipe', async (t) => {
  const info = await result('info', models.generator, '--layout');
  t.like(info, { kind: 'generator', licence: 'CC0-1.0', file: models.generator });
  t.deepEqual((info['layout'] as { styleChannels: unknown }).styleChannels, { conv: 52, torgb: 30, total: 82 });
  const piped = await run(['info', '-', '--json'], { input: await readFile(models.generator) });
  const { result: same } = JSON.parse(piped.stdout) as { result: Record<string, unknown> };
  t.is(same['sha256'], info['sha256']);
  const text = await run(['info', models.generator, '--layout']);
  t.regex(text.stdout, /b16\.conv1/);
  t.regex(text.stdout, /52 conv \+ 30 toRGB = 82 style channels/);
});

test('info refuses what is no archive, and cut-off archives', async (t) => {
  const bytes = await readFile(models.generator);
  for (const [name, content] of [
    ['text.pt', Buffer.from('no archive')],
    ['cut.pt', bytes.subarray(0, bytes.length >> 1)],
    ['empty.pt', Buffer.alloc(0)],
  ] as const) {
    await writeFile(join(folder.path, name), content);
    const ended = await run(['info', name, '--json']);
    t.is(ended.code, 3, name);
    const { error } = JSON.parse(ended.stdout) as { error: { code: string } };
    t.regex(error.code, /^ERR_STYLECLIP_(FILE_DAMAGED|FORMAT_UNKNOWN)$/, name);
  }
});

test('run: a method on tensors of a file, written and read back', async (t) => {
  const z = Float32Array.from({ length: 2 * 512 }, (_, i) => Math.sin(i));
  await writeFile(join(folder.path, 'z.npy'), Buffer.concat(formatNpy(z, [2, 512])));
  const done = await result('run', models.generator, 'mapping', '--in', 'z.npy', '--out', 'w.npy');
  t.deepEqual(done['inputs'], [{ name: 'z', shape: [2, 512] }]);
  t.deepEqual(done['outputs'], [{ name: 'output0', shape: [2, 16] }]);
  const piped = await run(['run', models.generator, 'mapping', '--in', '-'], {
    input: await readFile(join(folder.path, 'z.npy')),
  });
  t.is(piped.code, 0, piped.stderr);
  t.regex(piped.stdout, /out output0 \[2, 16\]/);
  const missing = await run(['run', models.generator, 'fly', '--in', 'z.npy', '--json']);
  t.true([2, 3].includes(missing.code ?? -1), missing.stdout);
  t.true((JSON.parse(missing.stdout) as { error: { message: string } }).error.message.includes('fly'));
});

test('generate: pictures and latents, the same for the same seed', async (t) => {
  const first = await result('generate', '--generator', models.generator, '--count', '3', '--seed', '9', '--out', 'g1');
  const images = first['images'] as string[];
  t.deepEqual(
    images,
    ['0000', '0001', '0002'].map((name) => join('g1', `${name}.png`)),
  );
  const latents = await Latents.load(join(folder.path, first['latents'] as string));
  t.deepEqual([...latents.shape], [3, 6, 16]);
  const again = await run(['generate', '--generator', models.generator, '--count', '3', '--seed', '9', '--out', 'g2']);
  t.deepEqual(
    again.stdout.trimEnd().split('\n'),
    images.map((file) => file.replace('g1', 'g2')),
  );
  for (const file of images) {
    const [a, b] = await Promise.all([file, file.replace('g1', 'g2')].map(async (f) => readFile(join(folder.path, f))));
    t.deepEqual(a, b);
    t.like(await sharp(a).metadata(), { format: 'png', width: 16, height: 16 });
  }
  const z = await result('generate', '--generator', models.generator, '--space', 'z', '--grid', '--out', 'grid.png');
  t.deepEqual(z['images'], ['grid.png']);
  t.deepEqual([...(await Latents.load(join(folder.path, 'grid.safetensors'))).shape], [8, 512]);
});

test('stats: a summary of every layer, and a file', async (t) => {
  const stats = await result('stats', '--generator', models.generator, '--samples', '500', '--out', 's.safetensors');
  t.is(stats['samples'], 500);
  const layers = stats['layers'] as {
    name: string;
    channels: number;
    sigmaMin: number;
    sigmaMedian: number;
    sigmaMax: number;
  }[];
  t.is(
    layers.reduce((sum, layer) => sum + layer.channels, 0),
    82,
  );
  for (const layer of layers) {
    t.true(
      layer.sigmaMin > 0 && layer.sigmaMin <= layer.sigmaMedian && layer.sigmaMedian <= layer.sigmaMax,
      layer.name,
    );
  }
  t.true((await stat(join(folder.path, 's.safetensors'))).size > 82 * 4 * 2);
});

test('sweep: the result as JSON, as events, and as fs3.npy', async (t) => {
  const swept = await result(
    'sweep',
    ...SWEEP,
    ...models.flags,
    '--layers',
    'b4.conv1,b8.conv0',
    '--out',
    'part.safetensors',
  );
  t.like(swept, { channels: 24, images: 2, method: 'exact', rendered: 24 * 2 * 2 });
  t.true((swept['imagesPerSecond'] as number) > 0 && (swept['seconds'] as number) > 0);
  const lines = await run(['sweep', ...SWEEP, ...models.flags, '--out', 'fs3.npy', '--json-lines']);
  t.is(lines.code, 0, lines.stderr);
  const events = lines.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { event: string; ok?: boolean });
  t.true(events.slice(0, -1).every(({ event }) => event === 'progress'));
  t.like(events.at(-1), { event: 'result', ok: true, command: 'sweep' });
  const npy = await readFile(join(folder.path, 'fs3.npy'));
  t.regex(npy.toString('latin1', 0, 128), /'shape': \(52, 16\)/);
  const unknown = await run(['sweep', ...SWEEP, ...models.flags, '--layers', 'b4.conv9', '--out', 'x.safetensors']);
  t.is(unknown.code, 2, unknown.stderr);
});

test('sweep: the other methods, their flags, and what belongs to another one', async (t) => {
  const adaptive = ['--images', '20', '--method', 'adaptive', '--cosine', '0.8', '--confidence', '0.9', '--check', '3'];
  const quick = await result('sweep', ...SWEEP, ...models.flags, ...adaptive, '--out', 'adaptive.safetensors');
  t.like(quick, { method: 'adaptive', images: 20, agreement: { channels: 3 } });
  t.true((quick['rendered'] as number) < 2 * 52 * 20);
  const stopped = await run([
    'sweep',
    ...SWEEP,
    ...models.flags,
    '--method',
    'stop-at',
    '--stop-at',
    '8',
    '--out',
    'stopped.safetensors',
  ]);
  t.is(stopped.code, 0, stopped.stderr);
  t.regex(stopped.stdout, /beside exact\/float32 on 16 channels: cosine 0\.\d{4} in the median/);
  const screened = ['sweep', ...SWEEP, ...models.flags, '--method', 'screened', '--out', 'few.safetensors'];
  t.like(await result(...screened, ...DIRECTION, '--margin', '3'), { method: 'screened', channels: 15 });
  const refusals: [string[], RegExp][] = [
    [screened, /needs a text/],
    [[...screened, ...DIRECTION, '--dir', 'd'], /has no --dir/],
    [['sweep', ...SWEEP, ...models.flags, ...DIRECTION], /belongs to the method screened/],
    [['sweep', ...SWEEP, ...models.flags, '--cosine', '0.9'], /cosine is given for the method 'exact'/],
  ];
  for (const [args, message] of refusals) {
    const ended = await run([...args, '--force', '--json']);
    const { error } = JSON.parse(ended.stdout) as { error: { code: string; message: string } };
    t.is(error.code, 'ERR_STYLECLIP_ARGUMENT');
    t.regex(error.message, message);
  }
});

test('direction: the channels it moves, and the same direction from an fs3.npy', async (t) => {
  const found = await result(
    'direction',
    ...DIRECTION,
    ...models.flags,
    '--relevance',
    relevance,
    '--out',
    'd.safetensors',
  );
  t.is(found['selected'], 5);
  const channels = found['channels'] as { name: string; relevance: number; delta: number }[];
  t.is(channels.length, 5);
  t.is(Math.fround(found['largest'] as number), Math.abs(channels[0]!.relevance));
  const text = await run(['direction', ...DIRECTION, ...models.flags, '--relevance', relevance]);
  for (const { name } of channels) t.true(text.stdout.includes(name));
  const fs3 = await run(['sweep', ...SWEEP, ...models.flags, '--out', 'same.npy']);
  t.is(fs3.code, 0, fs3.stderr);
  const imported = await result('direction', ...DIRECTION, ...models.flags, '--relevance', 'same.npy');
  const list = (r: Record<string, unknown>): string[] => (r['channels'] as { name: string }[]).map(({ name }) => name);
  t.deepEqual(list(imported), list(found));
  const none = await run([
    'direction',
    ...DIRECTION.slice(0, 4),
    '--beta',
    '1',
    ...models.flags,
    '--relevance',
    relevance,
    '--json',
  ]);
  t.is(none.code, 3);
  const { error } = JSON.parse(none.stdout) as { error: { code: string; message: string } };
  t.is(error.code, 'ERR_STYLECLIP_EMPTY_SELECTION');
  const said = Number(/largest \|relevance\| is (\d\.\d+)/.exec(error.message)?.[1]);
  t.true(Math.abs(said - (found['largest'] as number)) < 0.001, error.message);
});

test('direction: templates of one’s own, and another prompt left out', async (t) => {
  await writeFile(join(folder.path, 'templates.txt'), 'a drawing of {}\n\n{} in the rain\n');
  const flags = [...models.flags, '--relevance', relevance];
  const plain = await result('direction', ...DIRECTION, ...flags);
  const own = await result('direction', ...DIRECTION, ...flags, '--templates', 'templates.txt');
  t.notDeepEqual(own['channels'], plain['channels']);
  const names = (r: Record<string, unknown>): string[] => (r['channels'] as { name: string }[]).map(({ name }) => name);
  const other = await result('direction', '--target', 'a sad dog', ...DIRECTION.slice(2), ...flags);
  const left = await result('direction', ...DIRECTION, ...flags, '--not', 'a sad dog');
  t.deepEqual(
    names(left).filter((name) => names(other).includes(name)),
    [],
  );
  await writeFile(join(folder.path, 'bad.txt'), 'no place for the text\n');
  const bad = await run(['direction', ...DIRECTION, ...flags, '--templates', 'bad.txt', '--json']);
  t.is(bad.code, 3);
});

test('generate, then edit what was generated: strength 0 is the picture itself', async (t) => {
  await result('generate', '--generator', models.generator, '--count', '2', '--seed', '4', '--out', 'before');
  const latents = join('before', 'latents.safetensors');
  const flags = [...DIRECTION, ...models.flags, '--relevance', relevance];
  const edited = await result('edit', latents, ...flags, '--alpha', '-3,0,3', '--out', 'after');
  const images = edited['images'] as { latent: number; alpha: number; file: string }[];
  t.deepEqual(
    images.map(({ latent, alpha }) => [latent, alpha]),
    [
      [0, -3],
      [0, 0],
      [0, 3],
      [1, -3],
      [1, 0],
      [1, 3],
    ],
  );
  const pixels = async (file: string): Promise<Buffer> => sharp(join(folder.path, file)).raw().toBuffer();
  for (const latent of [0, 1]) {
    const before = await pixels(join('before', `000${latent}.png`));
    const at = async (alpha: number): Promise<Buffer> =>
      pixels(images.find((image) => image.latent === latent && image.alpha === alpha)!.file);
    t.deepEqual(await at(0), before);
    t.notDeepEqual(await at(3), before);
    t.notDeepEqual(await at(-3), await at(3));
  }
  t.is((edited['direction'] as { selected: number }).selected, 5);
  const piped = await run(['edit', '-', ...flags, '--grid', '--out', 'piped.png'], {
    input: await readFile(join(folder.path, latents)),
  });
  t.is(piped.stdout, 'piped.png\n', piped.stderr);
  const single = await run(['edit', latents, ...flags, '--alpha', '2', '--out', 'single.png']);
  t.is(single.code, 2, 'two latents do not fit into one picture');
});

test('edit without files draws its own; a grid and a video', async (t) => {
  const flags = [...DIRECTION, ...models.flags, '--relevance', relevance];
  const edited = await result(
    'edit',
    ...flags,
    '--count',
    '2',
    '--alpha',
    '0,4',
    '--grid',
    '--out',
    'e.png',
    '--video',
    'e.webp',
  );
  t.deepEqual(edited['images'], [{ alpha: [0, 4], file: 'e.png' }]);
  t.is(edited['video'], 'e.webp');
  const video = await sharp(join(folder.path, 'e.webp'), { animated: true }).metadata();
  t.true((video.pages ?? 0) > 10);
  t.is((await sharp(join(folder.path, 'e.png')).metadata()).format, 'png');
});

test('edit without a relevance screens the channels of its text, and says so', async (t) => {
  const ended = await run(['edit', ...DIRECTION, ...models.flags, '--count', '1', '--out', 'screened.png', '--json']);
  t.is(ended.code, 0, ended.stdout);
  t.regex(ended.stderr, /screened.*styleclip sweep/s);
  const { result: edited } = JSON.parse(ended.stdout) as { result: { direction: { selected: number } } };
  t.true(edited.direction.selected > 0);
});

test('edit names what is missing: an encoder, a matching generator', async (t) => {
  const code = async (...args: string[]): Promise<[number | null, string, string]> => {
    const ended = await run([...args, '--json']);
    const { error } = JSON.parse(ended.stdout) as { error: { code: string; remedy: string } };
    return [ended.code, error.code, error.remedy];
  };
  await sharp({ create: { width: 16, height: 16, channels: 3, background: 'red' } })
    .png()
    .toFile(join(folder.path, 'my-cat.png'));
  const picture = await code(
    'edit',
    'my-cat.png',
    ...DIRECTION,
    ...models.flags,
    '--relevance',
    relevance,
    '--out',
    'p.png',
  );
  t.is(picture[0], 3);
  t.regex(picture[2], /encoder/);
  await result(
    'make',
    'stylegan2',
    '--size',
    '16',
    '--channels',
    '12,10,8',
    '--style-width',
    '16',
    '--seed',
    '8',
    '--out',
    'other.pt',
  );
  const other = ['--generator', 'other.pt', '--clip', models.clip, '--relevance', relevance, '--out', 'o'];
  t.is((await code('edit', ...DIRECTION, ...other))[1], 'ERR_STYLECLIP_MODEL_MISMATCH');
});

test('--quiet: nothing on stdout, and the work is done', async (t) => {
  const ended = await run([
    'generate',
    '--generator',
    models.generator,
    '--out',
    'quiet',
    '--count',
    '1',
    '--quiet',
    '--json',
  ]);
  t.deepEqual(ended, { code: 0, signal: null, stdout: '', stderr: '' });
  t.deepEqual((await readdir(join(folder.path, 'quiet'))).toSorted(), ['0000.png', 'latents.safetensors']);
});

test('a device that is not there exits with 4', async (t) => {
  const ended = await run([
    'generate',
    '--generator',
    models.generator,
    '--device',
    'cuda:99',
    '--out',
    'none',
    '--json',
  ]);
  t.is(ended.code, 4, ended.stdout);
  t.is((JSON.parse(ended.stdout) as { error: { code: string } }).error.code, 'ERR_STYLECLIP_DEVICE');
});

test('unknown words are named in a warning', async (t) => {
  const flags = ['--neutral', 'a cat', '--channels', '5', ...models.flags, '--relevance', relevance];
  const ended = await run(['direction', '--target', 'a zyxw cat', ...flags]);
  t.is(ended.code, 0);
  t.regex(ended.stderr, /warning: .*zyxw/);
});

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  test(`${signal} in mid-sweep exits with ${code} and leaves no file`, async (t) => {
    let sent = false;
    const out = `stopped-${signal}.safetensors`;
    const args = [
      'sweep',
      '--images',
      '500',
      '--statistics-samples',
      '200',
      ...models.flags,
      '--out',
      out,
      '--json-lines',
    ];
    const ended = await run(args, {
      watch: (child, stdout) => {
        if (!sent && stdout.includes('"phase":"sweep"')) sent = child.kill(signal);
      },
    });
    t.true(sent);
    t.is(ended.code, code, ended.stderr);
    const last = JSON.parse(ended.stdout.trimEnd().split('\n').at(-1)!) as { event: string; error: { code: string } };
    t.like(last, { event: 'error', ok: false, error: { code: 'ABORT_ERR' } });
    t.deepEqual(
      (await readdir(folder.path)).filter((name) => name.includes('stopped')),
      [],
    );
  });
}
