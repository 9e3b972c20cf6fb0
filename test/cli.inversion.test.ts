/*
 * Pictures of one's own on the command line, on tiny models: `encoder train`, `invert` by every method, `edit` and `optimize`
 * of a picture by its path, and runs that are killed outright and go on.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import sharp, { type Sharp } from 'sharp';
import { Images, Latents, loadDifference, NoiseMaps } from 'styleclip';
import { readSafetensors } from '../dist/files/safetensors.js';
import { styleclip, temporaryFolder, type Ended } from './helpers/cli.js';
import { makeTinyModels } from './helpers/tiny-models.js';

const folder = await temporaryFolder();
const at = (...names: string[]): string => join(folder.path, ...names);
const models = await makeTinyModels(folder.path);
const run = async (...args: string[]): Promise<Ended> =>
  styleclip([...args, ...models.flags, '--threads', '1'], { cwd: folder.path });
const LPIPS = fileURLToPath(new URL('../test/data/models/perceptual.pt', import.meta.url));
const TRAIN = ['encoder', 'train', '--batch', '4', '--validation', '8', '--channels', '8,8,16,16', '--head-width', '6'];
const DIRECTION = ['--target', 'a fat cat', '--neutral', 'a cat', '--channels', '5'];

/** Runs a command that ends well, and gives what `--json` says. */
async function result(t: ExecutionContext, ...args: string[]): Promise<Record<string, unknown>> {
  const ended = await run(...args, '--json');
  t.is(ended.code, 0, ended.stderr + ended.stdout);
  return (JSON.parse(ended.stdout) as { result: Record<string, unknown> }).result;
}

/** Exit code, error code and message of one that fails. */
async function failure(...args: string[]): Promise<{ code: number | null; error: string; message: string }> {
  const ended = await run(...args, '--json');
  const { error } = JSON.parse(ended.stdout) as { error?: { code: string; message: string } };
  return { code: ended.code, error: error?.code ?? '', message: error?.message ?? '' };
}

// Left half red, right half blue; wide, lying on its side by EXIF, and square.
const halves = async (width: number, height: number): Promise<Sharp> => {
  const data = Buffer.alloc(width * height * 3);
  for (let i = 0; i < width * height; i++) data[i * 3 + (i % width < width / 2 ? 0 : 2)] = 255;
  return sharp(data, { raw: { width, height, channels: 3 } });
};
await (await halves(37, 23)).png().toFile(at('odd.png'));
await (await halves(24, 24)).png().toFile(at('square.png'));
// Orientation 6: to be shown turned a quarter clockwise, so that red is above.
await (await halves(40, 40)).jpeg({ quality: 100 }).withMetadata({ orientation: 6 }).toFile(at('turned.jpg'));
await writeFile(at('text.png'), 'this is no picture\n');
await writeFile(at('cut.png'), (await readFile(at('odd.png'))).subarray(0, 60));
await writeFile(at('empty.png'), '');
test.after.always(async () => folder.remove());

interface Inverted {
  image: string;
  file: string;
  mse: number;
  lpips?: number;
  bestStep: number;
  stopped: string;
}

test.serial('encoder train: a folder, and an encoder that the other commands take', async (t) => {
  const trained = await result(t, ...TRAIN, '--steps', '12', '--validate-every', '4', '--dir', 'encoder');
  t.is(trained['file'], join('encoder', 'encoder.pt'));
  t.is(trained['step'], 12);
  const { step, error } = trained['best'] as { step: number; error: number };
  t.true([0, 4, 8, 12].includes(step) && error > 0);
  t.deepEqual((await readdir(at('encoder'))).toSorted(), [
    ...['encoder.pt', 'log.jsonl', 'settings.json', 'start.pt', 'training.safetensors'],
  ]);
  const info = await run('info', join('encoder', 'encoder.pt'), '--json');
  t.regex(info.stdout, /"kind":"encoder"/);
});

const ENCODER = ['--encoder', join('encoder', 'encoder.pt')];

test.serial('invert by the encoder: an odd picture, with a warning; its middle is taken', async (t) => {
  const ended = await run('invert', 'odd.png', 'square.png', ...ENCODER, '--out', 'pass', '--json');
  t.is(ended.code, 0, ended.stderr);
  t.regex(ended.stderr, /odd\.png is 37 x 23, not square: its middle is taken.*aligned/);
  t.notRegex(ended.stderr, /square\.png/);
  const { result: found } = JSON.parse(ended.stdout) as { result: { images: Inverted[]; latents: string } };
  t.deepEqual(
    found.images.map(({ image, file }) => [image, file]),
    [
      ['odd.png', join('pass', '0000.png')],
      ['square.png', join('pass', '0001.png')],
    ],
  );
  t.true(found.images.every(({ mse, lpips, stopped }) => mse > 0 && lpips === undefined && stopped === 'steps'));
  t.deepEqual((await Latents.load(at(found.latents))).shape, [2, 6, 16]);
  t.deepEqual((await readdir(at('pass'))).toSorted(), [
    ...['0000.png', '0001.png', 'latents.safetensors', 'report.json', 'sheet.png'],
  ]);
  t.is((await failure('invert', 'odd.png', ...ENCODER, '--out', 'pass')).error, 'ERR_STYLECLIP_FILE_EXISTS');
});

test.serial('a turned picture is inverted as it is shown', async (t) => {
  await result(t, 'invert', 'turned.jpg', ...ENCODER, '--out', 'turned');
  const upright = await Images.read(at('turned.jpg'), { size: 16 });
  const [above, below] = [upright.data.slice(0, 3), upright.data.slice(-3)];
  t.true(above[0]! > 200 && above[2]! < 60 && below[2]! > 200 && below[0]! < 60, `${above.join()} ${below.join()}`);
  await upright.png(at('upright.png'));
  await result(t, 'invert', 'upright.png', ...ENCODER, '--out', 'upright');
  const load = async (name: string): Promise<Latents> => Latents.load(at(name, 'latents.safetensors'));
  t.deepEqual((await load('turned')).data, (await load('upright')).data);
  await result(t, 'invert', 'square.png', ...ENCODER, '--out', 'flat');
  t.notDeepEqual((await load('turned')).data, (await load('flat')).data);
});

test.serial('edit and optimize take pictures by path, and warn of those that are not square', async (t) => {
  const edit = ['edit', 'odd.png', ...DIRECTION, ...ENCODER, '--alpha', '0'];
  const edited = await run(...edit, '--out', 'edited.png', '--json');
  t.is(edited.code, 0, edited.stderr);
  t.regex(edited.stderr, /odd\.png is 37 x 23, not square/);
  // At strength 0 it is what the encoder's latents give.
  t.deepEqual((await Images.read(at('edited.png'))).data, (await Images.read(at('pass', '0000.png'))).data);
  const optimize = ['optimize', 'odd.png', 'turned.jpg', '--target', 'a fat cat', '--steps', '3', ...ENCODER];
  const optimized = await run(...optimize, '--out', 'optimized', '--json');
  t.is(optimized.code, 0, optimized.stderr);
  t.regex(optimized.stderr, /odd\.png is 37 x 23/);
  t.deepEqual((await Latents.load(at('optimized', 'latents.safetensors'))).shape, [2, 6, 16]);
  const without = await failure('edit', 'odd.png', ...DIRECTION, '--out', 'nothing.png');
  t.deepEqual([without.code, without.error], [3, 'ERR_STYLECLIP_MODEL_KIND']);
});

test.serial('what is no picture is refused by its name, whatever it is called', async (t) => {
  const commands = [['invert'], ['edit', ...DIRECTION], ['optimize', '--target', 'a fat cat', '--steps', '1']] as const;
  for (const [command, ...options] of commands) {
    // They read pictures in the same way.
    for (const name of command === 'invert' ? ['text.png', 'cut.png', 'empty.png'] : ['text.png']) {
      const refused = await failure(command!, name, ...options, ...ENCODER, '--out', 'refused');
      t.deepEqual([refused.code, refused.error], [3, 'ERR_STYLECLIP_FILE_DAMAGED'], `${command} ${name}`);
      t.true(refused.message.includes(name), refused.message);
      await rm(at('refused'), { recursive: true, force: true });
    }
  }
});

test.serial(
  'the projector: noise maps, the way, losses; an LPIPS module compares, is reported, and needs trust',
  async (t) => {
    const invert = ['invert', 'square.png', '--method', 'projector', '--steps', '6', '--lpips', LPIPS];
    const untrusted = await failure(...invert, '--out', 'refused');
    t.deepEqual([untrusted.code, untrusted.error], [3, 'ERR_STYLECLIP_TRUST']);
    const ended = await run(...invert, '--trust', '--every', '3', '--out', 'projected');
    t.is(ended.code, 0, ended.stderr);
    t.regex(ended.stdout, /^projected\/0000\.png  mse \d\.\d+, lpips \d\.\d+\n/);
    t.is((await NoiseMaps.load(at('projected', 'noise.safetensors'))).length, 1);
    const report = JSON.parse(await readFile(at('projected', 'report.json'), 'utf8')) as {
      pictures: Inverted[];
      loss: Record<string, number[]>[];
    };
    const [picture] = report.pictures;
    t.is(report.loss[0]!['total']!.length, 7);
    const told = report.loss[0]!['feature']![picture!.bestStep]!;
    t.true(Math.abs(told - picture!.lpips!) < 1e-4, `${told} and ${picture!.lpips}`);
    t.true((await sharp(at('projected', 'sheet.png')).metadata()).width > 3 * 100);
  },
);

test.serial('pti: the difference that it saves makes the tuned generator, for every command', async (t) => {
  const tuned = await result(
    t,
    'invert',
    'square.png',
    ...['--method', 'pti', '--steps', '4', '--tune-steps', '30'],
    ...['--tune-rate', '0.003', '--feature', 'none', '--lambda-locality', '0.1', '--locality-distance', '2'],
    '--out',
    'pti',
  );
  t.is(tuned['difference'], join('pti', 'difference.safetensors'));
  t.is(tuned['noise'], undefined);
  const { tuning } = JSON.parse(await readFile(at('pti', 'report.json'), 'utf8')) as {
    tuning: Record<string, number[]>;
  };
  t.is(tuning['total']!.length, 30);
  t.true(tuning['pixel']!.at(-1)! < 0.9 * tuning['pixel']![0]!);
  t.true(tuning['locality']!.at(-1)! > 0);
  const edit = ['edit', join('pti', 'latents.safetensors'), ...DIRECTION, '--alpha', '0'];
  await result(t, ...edit, '--difference', join('pti', 'difference.safetensors'), '--out', 'tuned.png');
  await result(t, ...edit, '--out', 'original.png');
  const found = (await Images.read(at('pti', '0000.png'))).data;
  const far = async (name: string): Promise<number> => {
    const { data } = await Images.read(at(name));
    return Math.max(...data.map((value, i) => Math.abs(value - found[i]!)));
  };
  t.true((await far('tuned.png')) <= 1, 'rounding to 8 bits');
  t.true((await far('original.png')) > 10);
  const wrong = await failure(...edit, '--difference', join('pti', 'latents.safetensors'), '--out', 'x.png');
  t.deepEqual([wrong.code, wrong.error], [3, 'ERR_STYLECLIP_FORMAT_UNKNOWN']);
  const missing = await failure(...edit, '--difference', 'nothing.safetensors', '--out', 'x.png');
  t.is(missing.error, 'ERR_STYLECLIP_FILE_NOT_FOUND');
  const again = await failure(
    'invert',
    'square.png',
    '--method',
    'pti',
    '--difference',
    join('pti', 'difference.safetensors'),
    '--out',
    'x',
  );
  t.is(again.error, 'ERR_STYLECLIP_ARGUMENT');
  t.regex(again.message, /tuned before/);
});

/** Starts a command and kills it outright a while after a file has appeared. */
async function killedAfter(file: string, wait: number, args: readonly string[]): Promise<Ended> {
  return styleclip([...args, ...models.flags, '--threads', '1'], {
    cwd: folder.path,
    started: (child) => {
      const timer = setInterval(() => {
        if (!existsSync(file)) return;
        clearInterval(timer);
        setTimeout(() => child.kill('SIGKILL'), wait);
      }, 20);
      child.on('exit', () => clearInterval(timer));
    },
  });
}

const tensorsOf = async (...names: string[]) => (await readSafetensors(at(...names))).tensors;

test.serial('an encoder training killed outright goes on to the same weights', async (t) => {
  const train = [...TRAIN, '--steps', '200', '--validate-every', '50'];
  const state = at('killed', 'training.safetensors');
  const killed = await killedAfter(state, 200, [...train, '--dir', 'killed']);
  t.is(killed.signal, 'SIGKILL', killed.stderr);
  t.false((await readFile(at('killed', 'log.jsonl'), 'utf8')).includes('"step":200'));
  await result(t, ...train, '--dir', 'killed');
  await result(t, ...train, '--dir', 'whole');
  t.deepEqual(await tensorsOf('killed', 'training.safetensors'), await tensorsOf('whole', 'training.safetensors'));
  t.deepEqual(await readFile(at('killed', 'encoder.pt')), await readFile(at('whole', 'encoder.pt')));
  const steps = async (name: string): Promise<number[]> =>
    (await readFile(at(name, 'log.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { step: number }).step);
  t.deepEqual(await steps('killed'), [0, 50, 100, 150, 200]);
  t.deepEqual(await steps('whole'), [0, 50, 100, 150, 200]);
  const other = await failure(...train, '--batch', '8', '--dir', 'killed');
  t.deepEqual([other.code, other.error], [3, 'ERR_STYLECLIP_RESUME_MISMATCH']);
});

test.serial(
  'an inversion killed outright has left its best, and goes on to the same latents and generator',
  async (t) => {
    const invert = ['invert', 'square.png', 'odd.png', '--method', 'pti', '--steps', '200', '--tune-steps', '100'];
    const killed = await killedAfter(at('stopped', 'invert.safetensors'), 300, [...invert, '--out', 'stopped']);
    t.is(killed.signal, 'SIGKILL', killed.stderr);
    t.deepEqual((await Latents.load(at('stopped', 'latents.safetensors'))).shape, [2, 16]);
    t.false(existsSync(at('stopped', 'report.json')));
    // Once more, in the tuning.
    const again = await killedAfter(at('stopped', 'tune.safetensors'), 100, [...invert, '--out', 'stopped']);
    t.is(again.signal, 'SIGKILL', again.stderr);
    t.truthy((await loadDifference(at('stopped', 'difference.safetensors'))).tensors['conv1.conv.weight']);
    await result(t, ...invert, '--out', 'stopped');
    await result(t, ...invert, '--out', 'through');
    for (const name of ['invert', 'tune', 'latents', 'difference']) {
      const file = `${name}.safetensors`;
      t.deepEqual(await tensorsOf('stopped', file), await tensorsOf('through', file), name);
    }
    t.deepEqual(await readFile(at('stopped', '0000.png')), await readFile(at('through', '0000.png')));
    const other = await failure(...invert, '--learning-rate', '0.3', '--out', 'stopped');
    t.deepEqual([other.code, other.error], [3, 'ERR_STYLECLIP_RESUME_MISMATCH']);
    t.regex(other.message, /learningRate/);
    const anew = await result(t, 'invert', 'square.png', '--steps', '3', '--force', '--out', 'stopped');
    t.is((anew['images'] as Inverted[]).length, 1);
    t.false(existsSync(at('stopped', 'tune.safetensors')));
  },
);

test.serial('Ctrl-C leaves a state and the best latents', async (t) => {
  const stopped = await styleclip(
    ['invert', 'square.png', '--steps', '100000', '--out', 'long', ...models.flags, '--threads', '1'],
    {
      cwd: folder.path,
      started: (child) => {
        const timer = setInterval(() => {
          if (!existsSync(at('long', 'invert.safetensors'))) return;
          clearInterval(timer);
          setTimeout(() => child.kill('SIGINT'), 700);
        }, 50);
        child.on('exit', () => clearInterval(timer));
      },
    },
  );
  t.is(stopped.code, 130, stopped.stderr);
  const step = Buffer.from((await tensorsOf('long', 'invert.safetensors')).get('step')!.bytes).readBigInt64LE();
  t.true(step > 1n, 'saved again at the end');
  t.is((await Latents.load(at('long', 'latents.safetensors'))).length, 1);
});

test.serial('wrong usage', async (t) => {
  const codes = async (...args: string[]): Promise<unknown[]> => {
    const { code, error } = await failure(...args);
    return [code, error.replace('ERR_STYLECLIP_', '')];
  };
  t.deepEqual(await codes('invert', 'square.png', '--out', 'file.png'), [2, 'ARGUMENT']);
  t.deepEqual(await codes('invert', 'square.png', '--method', 'encoder', '--out', 'x'), [2, 'ARGUMENT']);
  t.deepEqual(await codes('invert', 'square.png', '--lambda-locality', '0.1', '--out', 'y'), [2, 'ARGUMENT']);
  t.deepEqual(await codes('invert', 'square.png', '--refine-steps', '5', '--out', 'z'), [2, 'ARGUMENT']);
  t.is((await run('invert')).code, 2, 'no picture');
  t.is((await run('invert', 'square.png', '--method', 'magic')).code, 2);
  t.is((await run('encoder', 'learn')).code, 2);
  t.is((await run(...TRAIN, '--optimizer', 'sgd')).code, 2);
});
