/*
 * `styleclip mapper train` and `mapper apply` on tiny models; a training that is killed outright goes on to the same weights.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { Latents } from 'styleclip';
import { readSafetensors } from '../dist/files/safetensors.js';
import { styleclip, temporaryFolder, type Ended } from './helpers/cli.js';
import { makeTinyModels } from './helpers/tiny-models.js';

const folder = await temporaryFolder();
const models = await makeTinyModels(folder.path);
const TRAIN = ['mapper', 'train', '--target', 'a fat cat', '--validate-every', '50', ...models.flags];
test.after.always(async () => folder.remove());

const run = async (...args: string[]): Promise<Ended> => styleclip(args, { cwd: folder.path });
const resultOf = (ended: Ended): Record<string, unknown> =>
  (JSON.parse(ended.stdout) as { result: Record<string, unknown> }).result;

test('train, then apply: latents, pictures, a sheet', async (t) => {
  const trained = await run(...TRAIN, '--steps', '20', '--dir', 'one', '--json');
  t.is(trained.code, 0, trained.stderr);
  const { file, best, step } = resultOf(trained);
  t.is(file, join('one', 'mapper.pt'));
  t.true(typeof best === 'number' && best > 0 && (step === 0 || step === 20));
  t.deepEqual((await readdir(join(folder.path, 'one'))).toSorted(), ['log.jsonl', 'mapper.pt', 'training.safetensors']);

  const apply = ['mapper', 'apply', '--mapper', file as string, '--count', '2', ...models.flags];
  const applied = await run(...apply, '--strength', '2', '--json');
  t.is(applied.code, 0, applied.stderr);
  t.deepEqual(resultOf(applied), {
    latents: join('mapped', 'latents.safetensors'),
    images: [join('mapped', '0000.png'), join('mapped', '0001.png')],
  });
  const latents = await Latents.load(join(folder.path, 'mapped', 'latents.safetensors'));
  t.deepEqual(latents.shape, [2, 6, 16]);
  const still = await run(...apply, '--strength', '0', '--grid', '--out', 'still.png');
  t.is(still.code, 0, still.stderr);
  t.true(existsSync(join(folder.path, 'still.png')));
  const moved = await Latents.load(join(folder.path, 'still.safetensors'));
  t.notDeepEqual(moved.data, latents.data);
  const again = await run(...apply, join('still.safetensors'), '--strength', '2', '--out', 'again');
  t.is(again.code, 0, again.stderr);
  t.deepEqual((await Latents.load(join(folder.path, 'again', 'latents.safetensors'))).data, latents.data);
});

test('killed outright, it goes on to the same weights', async (t) => {
  const steps = ['--steps', '1500', '--threads', '1'];
  const state = join(folder.path, 'killed', 'training.safetensors');
  const killed = await styleclip([...TRAIN, ...steps, '--dir', 'killed'], {
    cwd: folder.path,
    started: (child) => {
      const timer = setInterval(() => {
        if (!existsSync(state)) return;
        clearInterval(timer);
        setTimeout(() => child.kill('SIGKILL'), 200);
      }, 20);
      child.on('exit', () => clearInterval(timer));
    },
  });
  t.not(killed.code, 0);
  const before = await readSafetensors(state);
  const { step } = JSON.parse(before.metadata['numbers']!) as { step: number };
  t.true(step > 0 && step < 1500, `${step}`);
  t.is((await run(...TRAIN, ...steps, '--dir', 'killed')).code, 0);
  t.is((await run(...TRAIN, ...steps, '--dir', 'whole')).code, 0);
  const after = await readSafetensors(state);
  const whole = await readSafetensors(join(folder.path, 'whole', 'training.safetensors'));
  t.deepEqual(after.tensors, whole.tensors);
  t.is(after.metadata['numbers'], whole.metadata['numbers']);
  const log = async (name: string): Promise<string> => readFile(join(folder.path, name, 'log.jsonl'), 'utf8');
  t.is(await log('killed'), await log('whole'));
});

test('what it refuses', async (t) => {
  t.is((await run('mapper', 'train', ...models.flags)).code, 2, 'no target');
  t.is((await run('mapper', 'apply', ...models.flags)).code, 2, 'no mapper');
  t.is((await run(...TRAIN, 'x.safetensors')).code, 2);
  t.is((await run(...TRAIN, '--grid')).code, 2);
  t.is((await run('mapper', 'apply', '--mapper', 'x.pt', '--steps', '3', ...models.flags)).code, 2);
  t.is((await run('mapper', 'apply', '--mapper', 'x.pt', ...models.flags)).code, 3);
  t.is((await run(...TRAIN, '--levels', 'course')).code, 2);
  t.is((await run(...TRAIN, '--levels', 'coarse')).code, 2, 'six rows');
  t.is((await run(...TRAIN, '--latents', 'nothing.npy')).code, 3);
});
