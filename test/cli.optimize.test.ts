/*
 * `styleclip optimize` on tiny models: what it writes, and what a Ctrl-C leaves.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import sharp from 'sharp';
import { Latents } from 'styleclip';
import { readSafetensors } from '../dist/files/safetensors.js';
import { styleclip, temporaryFolder, type Ended } from './helpers/cli.js';
import { makeTinyModels } from './helpers/tiny-models.js';

const folder = await temporaryFolder();
const models = await makeTinyModels(folder.path);
const RUN = ['optimize', '--target', 'a fat cat', '--steps', '6', '--count', '2', ...models.flags];
test.after.always(async () => folder.remove());

const run = async (...args: string[]): Promise<Ended> => styleclip(args, { cwd: folder.path });

test('a folder of latents, pictures, losses, the way and an animation', async (t) => {
  const ended = await run(...RUN, '--every', '2', '--video', 'way.webp', '--out', 'one', '--json');
  t.is(ended.code, 0, ended.stderr);
  const { result } = JSON.parse(ended.stdout) as { result: Record<string, unknown> };
  t.is(result['latents'], join('one', 'latents.safetensors'));
  t.is(result['stoppedEarly'], false);
  const files = await readdir(join(folder.path, 'one'));
  t.deepEqual(files.toSorted(), [
    ...['0000.png', '0001.png', 'latents.safetensors', 'loss.json', 'optimize.safetensors', 'way.png'],
  ]);
  t.deepEqual((await Latents.load(join(folder.path, 'one', 'latents.safetensors'))).shape, [2, 6, 16]);
  const loss = JSON.parse(await readFile(join(folder.path, 'one', 'loss.json'), 'utf8')) as Record<string, number[]>;
  t.is(loss['total']!.length, 7);
  const { pages, width } = await sharp(join(folder.path, 'way.webp'), { animated: true }).metadata();
  t.is(width, 2 * 192);
  t.true(pages! >= 3);
  const sheet = await sharp(join(folder.path, 'one', 'way.png')).metadata();
  t.true(sheet.width > 4 * 128);

  const text = await run(...RUN, '--out', 'one');
  t.is(text.code, 0, 'the finished run is read again');
  t.regex(text.stdout, /^loss \d\.\d+ -> \d\.\d+ \(clip .*\)\none\/0000\.png\none\/0001\.png\n$/);
  const other = await run(...RUN, '--lambda-l2', '3', '--out', 'one', '--json');
  t.is(other.code, 3, other.stdout);
  t.regex(other.stdout, /ERR_STYLECLIP_RESUME_MISMATCH.*lambdaL2/);
});

test('Ctrl-C leaves a state and the best latents', async (t) => {
  const long = [...RUN, '--steps', '100000', '--out', 'long'];
  const state = join(folder.path, 'long', 'optimize.safetensors');
  const stopped = await styleclip([...long, '--threads', '1'], {
    cwd: folder.path,
    started: (child) => {
      const timer = setInterval(() => {
        if (!existsSync(state)) return;
        clearInterval(timer);
        setTimeout(() => child.kill('SIGINT'), 500);
      }, 50);
      child.on('exit', () => clearInterval(timer));
    },
  });
  t.is(stopped.code, 130, stopped.stderr);
  const { metadata } = await readSafetensors(state);
  t.true(Number(metadata['step']) > 0, metadata['step']);
  t.true((await Latents.load(join(folder.path, 'long', 'latents.safetensors'))).length === 2);
});

test('what it refuses', async (t) => {
  await writeFile(join(folder.path, 'file.txt'), 'x');
  t.is((await run(...RUN, '--out', '.')).code, 3, 'a folder with other things');
  t.is((await run(...RUN, '--out', 'file.png')).code, 2);
  t.is((await run('optimize', ...models.flags)).code, 2, 'no target');
  t.is((await run(...RUN, '--lambda-l2', '-1')).code, 2);
  const picture = await run(...RUN, 'nothing.png', '--out', 'two');
  t.is(picture.code, 3, picture.stdout);
});
