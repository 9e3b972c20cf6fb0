/*
 * The commands that sweep, optimize, train and invert, given what cannot go well: weights below 0 and texts that say nothing are
 * wrong usage; latents, pictures and models that do not fit are named; a run that explodes leaves its best.
 */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import sharp from 'sharp';
import { Latents } from 'styleclip';
import { styleclip, temporaryFolder } from './helpers/cli.js';
import { makeBroken } from './helpers/public-models.js';
import { makeTinyModels } from './helpers/tiny-models.js';

const folder = await temporaryFolder();
const models = await makeTinyModels(folder.path);
const at = (...names: string[]): string => join(folder.path, ...names);
await sharp({ create: { width: 24, height: 24, channels: 3, background: '#c33' } })
  .png()
  .toFile(at('square.png'));
await writeFile(at('text.png'), 'this is no picture\n');
test.after.always(async () => folder.remove());

const OPTIMIZE = ['optimize', '--target', 'a fat cat', '--steps', '4', '--seed', '1'];
const MAPPER = ['mapper', 'train', '--target', 'a fat cat', '--steps', '4', '--validate-every', '2'];
const INVERT = ['invert', 'square.png', '--steps', '2'];
const SIZES = ['--channels', '8,8,16,16', '--head-width', '6'];
const TRAIN = ['encoder', 'train', '--batch', '4', '--validation', '8', '--steps', '2', '--validate-every', '2'];

/** Exit code, error code without its prefix, message. */
async function failure(args: readonly string[], flags = models.flags): Promise<[number | null, string, string]> {
  const ended = await styleclip([...args, ...flags, '--threads', '1', '--json'], { cwd: folder.path });
  const { error } = JSON.parse(ended.stdout) as { error?: { code: string; message: string } };
  return [ended.code, error?.code.replace('ERR_STYLECLIP_', '') ?? '', error?.message ?? ''];
}

async function refused(t: ExecutionContext, name: string, named: RegExp, args: readonly string[]): Promise<void> {
  const [code, error, message] = await failure([...args, '--out', 'refused']);
  t.deepEqual([code, error], [3, name], `${args.join(' ')}: ${message}`);
  t.regex(message, named, args.join(' '));
}

const saved = async (name: string, shape: [number, number, number], meta = {}): Promise<string> => {
  const data = new Float32Array(shape[0] * shape[1] * shape[2]);
  await Latents.from(data, shape, 'w_plus', meta).save(at(name));
  return name;
};

test.serial('weights below 0 and texts that say nothing are wrong usage', async (t) => {
  for (const args of [
    [...OPTIMIZE, '--lambda-l2', '-1'],
    [...MAPPER, '--lambda-id', '-0.5'],
    [...INVERT, '--method', 'pti', '--lambda-locality', '-1'],
    [...TRAIN, ...SIZES, '--lambda-latent', '-1'],
    ['optimize', '--target', ''],
    ['mapper', 'train', '--target', ' '],
  ]) {
    const [code, , message] = await failure(args);
    t.is(code, 2, `${args.join(' ')}: ${message}`);
  }
});

test.serial(
  'a sweep of a broken model, of no pictures, of layers that are none, in a directory of another',
  async (t) => {
    const SWEEP = ['sweep', '--images', '2', '--statistics-samples', '200'];
    const broken = ['--generator', await makeBroken(folder.path), '--clip', models.clip];
    for (const method of ['exact', 'reference', 'stop-at', 'adaptive', 'gradient', 'screened']) {
      const text = method === 'screened' ? ['--target', 'a fat cat', '--neutral', 'a cat'] : [];
      const args = [...SWEEP, '--method', method, ...text, '--out', `${method}.safetensors`];
      const [code, name, message] = await failure(args, broken);
      t.deepEqual([code, name], [3, 'NOT_FINITE'], `${method}: ${message}`);
      t.regex(message, /the output of b8\.conv1 is not finite in channel 0/);
      t.false(existsSync(at(`${method}.safetensors`)));
    }
    for (const wrong of [
      ['--images', '0'],
      ['--layers', 'b4.conv9'],
    ]) {
      const [exit, usage, said] = await failure([...SWEEP, ...wrong, '--out', 'none.safetensors']);
      t.deepEqual([exit, usage], [2, 'ARGUMENT'], said);
      t.true(said.includes(wrong[1]!), said);
    }
    const inDirectory = [...SWEEP, '--dir', 'shards', '--out', 'sharded.safetensors'];
    t.is((await failure(inDirectory))[0], 0);
    const [code, name, message] = await failure([...inDirectory, '--sigmas', '4', '--force']);
    t.deepEqual([code, name], [3, 'RESUME_MISMATCH'], message);
    t.regex(message, /sigmas is 5\.0 there and 4\.0 here/);
  },
);

test.serial('latents of wrong rows, of no number, of another generator', async (t) => {
  const five = await saved('five.safetensors', [1, 5, 16]);
  const broken = await saved('broken.safetensors', [1, 6, 16]);
  const bytes = await readFile(at(broken));
  bytes.writeFloatLE(NaN, bytes.length - 4); // its last number
  await writeFile(at(broken), bytes);
  const foreign = await saved('foreign.safetensors', [1, 6, 16], { generatorSha256: 'f'.repeat(64) });
  for (const [file, name, named] of [
    [five, 'SHAPE', /5|rows/],
    [broken, 'NOT_FINITE', /NaN/],
    [foreign, 'MODEL_MISMATCH', /generator\.pt/],
  ] as const) {
    await refused(t, name, named, [...OPTIMIZE, file]);
    await refused(t, name, named, [...MAPPER, '--latents', file, '--dir', `mapped-${name}`]);
  }
  t.false(existsSync(at('mapped-SHAPE', 'mapper.pt')));
});

test.serial('pictures and checkpoints that are none, and of another generator', async (t) => {
  await refused(t, 'FILE_DAMAGED', /text\.png/, ['invert', 'text.png', '--steps', '1']);
  const [code, error] = await failure([...TRAIN, '--from', 'text.png', '--dir', 'from-text']);
  t.is(code, 3, error);
  t.false(existsSync(at('from-text', 'encoder.pt')));
  const sizes = ['--size', '16', '--channels', '12,10,8', '--style-width', '16', '--seed', '9'];
  const made = ['make', 'stylegan2', ...sizes, '--random', '--out', 'other.pt', '--licence', 'CC0-1.0'];
  t.is((await styleclip(made, { cwd: folder.path })).code, 0);
  const others = ['--generator', 'other.pt', '--clip', models.clip];
  t.deepEqual((await failure([...TRAIN, ...SIZES, '--dir', 'other'], others)).slice(0, 2), [0, '']);
  t.deepEqual((await failure([...MAPPER, '--dir', 'other-mapper'], others)).slice(0, 2), [0, '']);
  const encoder = join('other', 'encoder.pt');
  await refused(t, 'MODEL_MISMATCH', /encoder|latents/, ['invert', 'square.png', '--encoder', encoder]);
  await refused(t, 'MODEL_MISMATCH', /encoder\.pt/, [...TRAIN, '--from', encoder, '--dir', 'mine']);
  const from = join('other-mapper', 'mapper.pt');
  await refused(t, 'MODEL_MISMATCH', /mapper\.pt/, [...MAPPER, '--from', from, '--dir', 'mine-mapper']);
  await refused(t, 'RESUME_MISMATCH', /generator/, [...MAPPER, '--dir', 'other-mapper']);
  t.false(existsSync(at('mine', 'settings.json')), 'refused before anything is written');
});

test.serial('runs that explode tell their step and leave their best on the disk', async (t) => {
  const rate = ['--learning-rate', '1e6'];
  const options = [...models.flags, '--threads', '1'];
  const optimized = await styleclip([...OPTIMIZE, '--steps', '20', ...rate, '--out', 'far', ...options], {
    cwd: folder.path,
  });
  t.is(optimized.code, 0, optimized.stderr);
  t.regex(optimized.stderr, /(exploded|no number) at step \d+/);
  t.true((await Latents.load(at('far', 'latents.safetensors'))).data.every((value) => Number.isFinite(value)));
  const [code, error, message] = await failure([...MAPPER, '--steps', '200', ...rate, '--dir', 'far-mapper']);
  t.deepEqual([code, error], [3, 'NOT_FINITE'], message);
  t.regex(message, /at step \d+/);
  t.true((await readFile(at('far-mapper', 'mapper.pt'))).length > 0);
});
