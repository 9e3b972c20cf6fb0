/*
 * How fast is a step of latent optimisation, and how much memory does it take, beside a plain PyTorch loop of the original
 * structure? On the cats, and at config-f 256 with ViT-B/32 and IR-SE50 of random weights. Both start from the same latents
 * and have the released code's settings; a loop whose losses are not ours has no rate. Programs take turns.
 *
 *     --turns 3         of each program
 *     --steps 16        of each turn
 *     --threads 0       0: libtorch's choice
 *     --problems 1,8    latents at once, of our program
 *     --worlds cats,config-f-256
 *
 * The PyTorch loop needs a Python with torch: STYLECLIP_BENCH_PYTHON, or python3.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { median } from '../sweep/numbers.mjs';

const ROOT = join(import.meta.dirname, '..', '..');
const PROGRAM = join(ROOT, 'build', 'bench', 'styleclip_bench');
const MIB = 2 ** 20;
/** The losses' largest difference, of float32 computed in two ways over some steps of an optimisation. */
const LOSSES_AGREE = 2e-3;
// Threads that wait without spinning, as the package sets it: other programs need their cores.
const ENV = { OMP_WAIT_POLICY: 'passive', ...process.env };
const execute = promisify(execFile);

export const describe = 'a step of latent optimisation beside a PyTorch loop: time, memory, losses';

/** @typedef {{ generator: string, clip: string, identity: string }} Files */
/** @typedef {{ seconds: number, all: number[], peakBytes: number, losses: number[], torch?: string }} Timed */
/** @typedef {{ turns: number, steps: number, threads: number, problems: number[], folder: string }} Settings */

/**
 * @param {string} program
 * @param {string[]} args
 * @returns {Promise<Timed>}
 */
async function call(program, args) {
  try {
    return JSON.parse((await execute(program, args, { cwd: ROOT, env: ENV, maxBuffer: 2 ** 24 })).stdout);
  } catch (error) {
    const { stderr = '' } = /** @type {{ stderr?: string }} */ (error);
    throw new Error(`${[program, ...args].join(' ')} failed:\n${stderr.trimEnd().split('\n').slice(-15).join('\n')}`, {
      cause: error,
    });
  }
}

/**
 * The models of a world; random ones are made in the folder.
 * @param {string} world
 * @param {string} folder
 * @returns {Promise<Files>}
 */
async function filesOf(world, folder) {
  if (world === 'cats') {
    const of = (/** @type {string} */ name) => join(ROOT, 'models', 'cats', `${name}.pt`);
    return { generator: of('generator'), clip: of('clip'), identity: of('identity') };
  }
  const size = /^config-f-(\d+)$/.exec(world)?.[1];
  if (size === undefined) throw new Error(`there is no world ${world}: cats, config-f-256`);
  const { makeArchive } = await import('../../dist/index.js');
  const files = { generator: join(folder, 'g.pt'), clip: join(folder, 'c.pt'), identity: join(folder, 'i.pt') };
  const config = { image_size: Number(size), channel_base: 32768, channel_max: 512 };
  await makeArchive(files.generator, { kind: 'stylegan2', config, seed: 1 });
  await makeArchive(files.clip, { kind: 'clip', config: { preset: 'ViT-B/32' }, seed: 2 });
  await makeArchive(files.identity, { kind: 'ir-se', config: {}, seed: 3 });
  return files;
}

/**
 * @param {string} world
 * @param {Settings} of
 */
async function measure(world, of) {
  const folder = await mkdtemp(join(of.folder, 'world-'));
  const files = await filesOf(world, folder);
  const { Generator, Clip } = await import('../../dist/index.js');
  const generator = await Generator.load(files.generator, { device: 'cpu' });
  const text = new Float32Array((await closing(await Clip.load(files.clip, { device: 'cpu' }))).info.embeddingDim);
  for (let i = 0; i < text.length; ++i) text[i] = Math.sin(12.9898 * (i + 1)) / Math.sqrt(text.length / 2);
  const textFile = join(folder, 'text.f32');
  await writeFile(textFile, Buffer.from(text.buffer));
  /** @type {Map<number, string>} */
  const latents = new Map();
  for (const count of new Set([1, ...of.problems])) {
    const { data } = await generator.sample({ count, seed: 1 });
    latents.set(count, join(folder, `w${count}.f32`));
    await writeFile(latents.get(count) ?? '', Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  }
  await generator.close();

  const ours = (/** @type {number} */ count) =>
    call(PROGRAM, [
      ...['optimize', '--generator', files.generator, '--clip', files.clip, '--identity', files.identity],
      ...['--latents', latents.get(count) ?? '', '--text', textFile],
      ...['--steps', String(of.steps), '--threads', String(of.threads)],
      ...['--batch', String(count)],
    ]);
  const python = process.env['STYLECLIP_BENCH_PYTHON'] ?? 'python3';
  const theirs = () =>
    call(python, [
      join(import.meta.dirname, 'torch_optimize.py'),
      ...[files.generator, files.clip, files.identity, latents.get(1) ?? '', textFile],
      ...[String(of.steps), String(of.threads)],
    ]);
  /** @type {{ name: string, problems: number, run: () => Promise<Timed>, turns: Timed[] }[]} */
  const contenders = of.problems.map((problems) => ({
    ...{ name: `styleclip, ${problems}`, problems },
    run: () => ours(problems),
    turns: [],
  }));
  let reason = '';
  try {
    await execute(python, ['-c', 'import torch'], { env: ENV });
    contenders.push({ name: 'torchLoop', problems: 1, run: theirs, turns: [] });
  } catch {
    reason = `${process.env['STYLECLIP_BENCH_PYTHON'] === undefined ? 'python3' : 'STYLECLIP_BENCH_PYTHON'} has no torch`;
  }
  for (let turn = 0; turn < of.turns; ++turn) {
    for (const contender of contenders) contender.turns.push(await contender.run());
  }
  await rm(folder, { recursive: true, force: true });

  const loop = contenders.find((one) => one.name === 'torchLoop')?.turns[0];
  const first = contenders.find((one) => one.problems === 1 && one.name !== 'torchLoop')?.turns[0];
  const apart =
    loop === undefined || first === undefined
      ? null
      : Math.max(...loop.losses.map((loss, i) => Math.abs(loss - (first.losses[i] ?? Number.NaN))));
  const agrees = apart !== null && apart < LOSSES_AGREE;
  if (reason === '' && !agrees) reason = `its losses are ${apart} from ours`;
  const rows = contenders.map(({ name, problems, turns }) => ({
    ...{ name, problems },
    secondsPerStep: median(turns.map((turn) => turn.seconds)),
    stepsPerSecondAndLatent: problems / median(turns.map((turn) => turn.seconds)),
    peakMiB: Math.max(...turns.map((turn) => turn.peakBytes)) / MIB,
  }));
  const rowOf = (/** @type {string} */ name) => rows.find((row) => row.name === name);
  const [own, other] = [rowOf('styleclip, 1'), rowOf('torchLoop')];
  const ratios =
    own === undefined || other === undefined || !agrees
      ? { reason }
      : { speed: other.secondsPerStep / own.secondsPerStep, memory: own.peakMiB / other.peakMiB };
  return { world, rows, ratios, lossesApart: apart };
}

/**
 * @template {{ close(): Promise<void> }} T
 * @param {T} model
 */
async function closing(model) {
  await model.close();
  return model;
}

/** @param {Record<string, string>} options */
export async function run(options) {
  const known = { turns: '3', steps: '16', threads: '0', problems: '1,8', worlds: 'cats,config-f-256' };
  for (const name of Object.keys(options)) {
    if (!(name in known)) throw new Error(`there is no option --${name} of optimize`);
  }
  const all = { ...known, ...options };
  const folder = await mkdtemp(join(tmpdir(), 'styleclip-bench-'));
  try {
    const worlds = [];
    for (const world of all.worlds.split(',')) {
      worlds.push(
        await measure(world, {
          ...{ turns: Number(all.turns), steps: Number(all.steps), threads: Number(all.threads), folder },
          problems: all.problems.split(',').map(Number),
        }),
      );
    }
    return { settings: all, worlds };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param {{ worlds: Awaited<ReturnType<typeof measure>>[] }} result */
export function show({ worlds }) {
  const lines = [];
  for (const { world, rows, ratios, lossesApart } of worlds) {
    lines.push(world);
    for (const row of rows) {
      lines.push(
        `  ${row.name.padEnd(14)} ${row.secondsPerStep.toFixed(3)} s a step, ` +
          `${row.stepsPerSecondAndLatent.toFixed(2)} steps/s a latent, ${row.peakMiB.toFixed(0)} MiB`,
      );
    }
    lines.push(
      'reason' in ratios
        ? `  no comparison: ${ratios.reason}`
        : `  ${ratios.speed.toFixed(2)} x the loop's speed, ${ratios.memory.toFixed(2)} x its memory; losses ${lossesApart?.toExponential(1)} apart`,
    );
  }
  return `${lines.join('\n')}\n`;
}
