/*
 * How fast is the relevance sweep on the cats, beside a plain PyTorch loop, beside the readable implementation, and beside
 * what this machine can do at best? docs/performance.md says what each figure means. Correctness comes first: a contender
 * whose numbers are not the reference's has no rate. Contenders take turns in one run.
 *
 *     --images 2        sample pictures (each is rendered twice for every channel)
 *     --layers conv     style layers: conv, torgb, all, or one layer's name
 *     --threads 0       0: libtorch's choice
 *     --turns 5         of every contender
 *     --pairs 24        of a sweep through Node and one without
 *     --parts ratios,stages,node,memory,scaling     which parts to run
 *     --generator FILE, --clip FILE   other models than the cats
 *
 * The PyTorch loop needs a Python with torch: STYLECLIP_BENCH_PYTHON, or python3.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { median, medianInterval } from './numbers.mjs';
import { ratiosOf } from './ratios.mjs';
import { Turns } from './turns.mjs';

const ROOT = join(import.meta.dirname, '..', '..');
const PROGRAM = join(ROOT, 'build', 'bench', 'styleclip_bench');
const SAMPLES = '2000';
/** Channels that those who render picture by picture take in their turns: they are slow, and each costs the same. */
const SLOW_CHANNELS = 40;
const PROMPTS = ['a cat with glasses', 'a cat with a hat', 'a sleepy cat', 'a black cat', 'a striped cat'];
/** Channels that screened sweeps keep, and their sample pictures. */
const KEPT = 20;
const SCREENED_IMAGES = 100;
/** Of the exact sweeps of all channels beside them. */
const EXACT_IMAGES = 4;
const MIB = 2 ** 20;
// Threads that wait without spinning, as the package sets it: other programs need their cores.
const ENV = { OMP_WAIT_POLICY: 'passive', ...process.env };

const execute = promisify(execFile);

export const describe = 'the relevance sweep on the cats: methods, PyTorch, ceilings, Node, memory, scaling';

/** @typedef {import('./turns.mjs').Message} Message */
/** @typedef {{ generator: string, clip: string, images: number, layers: string, threads: number, turns: number, pairs: number, parts: Set<string>, folder: string }} Settings */

const DEFAULTS = { images: '2', layers: 'conv', threads: '0', turns: '5', pairs: '24' };
const PARTS = ['ratios', 'stages', 'node', 'memory', 'scaling'];

/**
 * @param {Record<string, string>} options
 * @param {string} folder
 * @returns {Settings}
 */
function settingsOf(options, folder) {
  const cats = join(ROOT, 'models', 'cats');
  const known = {
    ...DEFAULTS,
    generator: join(cats, 'generator.pt'),
    clip: join(cats, 'clip.pt'),
    parts: PARTS.join(),
  };
  for (const name of Object.keys(options)) {
    if (!(name in known)) throw new Error(`there is no option --${name} of sweep`);
  }
  const all = { ...known, ...options };
  const parts = new Set(all.parts.split(','));
  for (const part of parts) if (!PARTS.includes(part)) throw new Error(`there is no part ${part}: ${PARTS.join(', ')}`);
  /** @param {'images' | 'threads' | 'turns' | 'pairs'} name */
  const number = (name) => {
    const value = Number(all[name]);
    if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name} is ${all[name]}`);
    return value;
  };
  return {
    ...{ generator: all.generator, clip: all.clip, layers: all.layers, parts, folder },
    ...{ images: number('images'), threads: number('threads'), turns: number('turns'), pairs: number('pairs') },
  };
}

/**
 * @param {string} program
 * @param {string[]} args
 */
async function call(program, args) {
  try {
    return (await execute(program, args, { cwd: ROOT, env: ENV, maxBuffer: 2 ** 26 })).stdout;
  } catch (error) {
    const output = /** @type {{ stdout?: string, stderr?: string }} */ (error);
    const tail = `${output.stdout ?? ''}${output.stderr ?? ''}`.trimEnd().split('\n').slice(-20).join('\n');
    throw new Error(`${[program, ...args].join(' ')} failed:\n${tail}`, { cause: error });
  }
}

/** @param {Settings} of */
function programArgs(of) {
  const models = ['--generator', of.generator, '--clip', of.clip, '--samples', SAMPLES];
  return [...models, '--images', String(of.images), '--layers', of.layers, '--threads', String(of.threads)];
}

/**
 * @param {Settings} of
 * @param {string[]} more
 */
async function openProgram(of, more = []) {
  const program = new Turns(PROGRAM, ['turns', ...programArgs(of), ...more], ENV);
  return { program, about: await program.read() };
}

/**
 * The Python of the comparison, or why there is none.
 * @param {Settings} of
 * @returns {Promise<{ loop: Turns, torch: string } | { reason: string }>}
 */
async function openLoop(of) {
  const python = process.env['STYLECLIP_BENCH_PYTHON'] ?? 'python3';
  try {
    await execute(python, ['-c', 'import torch'], { env: ENV });
  } catch {
    return { reason: `${process.env['STYLECLIP_BENCH_PYTHON'] ? 'STYLECLIP_BENCH_PYTHON' : 'python3'} has no torch` };
  }
  const args = [join(import.meta.dirname, 'torch_loop.py'), of.generator, of.clip, String(of.threads)];
  const loop = new Turns(python, args, ENV);
  try {
    return { loop, torch: (await loop.read())['torch'] };
  } catch (error) {
    return { reason: /** @type {Error} */ (error).message };
  }
}

/**
 * Directions of texts, [prompts, dim] float32, for the agreement of relevances.
 * @param {Settings} of
 */
async function writeDirections(of) {
  const { Clip } = await import('../../dist/index.js');
  const clip = await Clip.load(of.clip, { device: 'cpu' });
  const all = [];
  try {
    for (const target of PROMPTS) all.push((await clip.direction({ neutral: 'a cat', target })).direction);
  } finally {
    await clip.close();
  }
  const file = join(of.folder, 'directions.f32');
  await writeFile(file, Buffer.concat(all.map((one) => Buffer.from(one.buffer, one.byteOffset, one.byteLength))));
  return file;
}

/**
 * Every contender in turn, and how far its numbers are from the truth.
 * @param {Settings} of
 */
async function ratios(of) {
  const { program, about } = await openProgram(of);
  const opened = await openLoop(of);
  /** @type {Record<string, string>} why a contender does not take part */
  const absent = {};
  try {
    const names = ['exact', 'exact/bfloat16'];
    const directions = await writeDirections(of);
    const agreement = await program.ask({ do: 'agreement', contenders: names, directions, survivors: KEPT });
    /** @type {Map<string, { turn: () => Promise<Message>, rates: number[], last?: Message }>} */
    const contenders = new Map();
    /** @param {string} contender */
    const add = (contender, /** @type {Message} */ load = {}) =>
      contenders.set(contender, { turn: () => program.ask({ do: 'sweep', contender, ...load }), rates: [] });
    add('reference/1', { channels: SLOW_CHANNELS });
    add('reference');
    for (const name of names) {
      const { reason } = agreement['against'][name];
      if (reason === undefined) add(name);
      else absent[name] = reason;
    }
    let torch = null;
    if ('loop' in opened) {
      const file = join(of.folder, 'pictures.f32');
      const pictures = await program.ask({ do: 'pictures', contender: 'reference', file, channels: SLOW_CHANNELS });
      const { distance } = await opened.loop.ask({ do: 'pictures', file, ...pictures });
      torch = { version: opened.torch, distance, distanceInEpsilons: distance / agreement['epsilon'] };
      if (torch.distanceInEpsilons < 4) {
        contenders.set('torchLoop', { turn: () => opened.loop.ask({ do: 'sweep' }), rates: [] });
      } else {
        absent['torchLoop'] = `its embeddings are ${torch.distanceInEpsilons.toFixed(1)} ε from ours`;
      }
    } else {
      absent['torchLoop'] = opened.reason;
    }
    const ceilings = [];
    for (let turn = 0; turn < Math.max(1, of.turns); ++turn) {
      ceilings.push(await program.ask({ do: 'ceilings', precisions: ['float32', 'bfloat16'] }));
      for (const contender of contenders.values()) {
        contender.last = await contender.turn();
        contender.rates.push(contender.last['images'] / contender.last['seconds']);
      }
    }
    const methods = [...contenders].map(([name, { rates, last }]) => ({
      name,
      imagesPerSecond: median(rates),
      channelsPerSecond: median(rates) / (2 * of.images),
      allRates: rates,
      batch: last?.['batch'] ?? 1,
      implementation: last?.['implementation'] ?? 'PyTorch',
    }));
    const rates = Object.fromEntries([...contenders].map(([name, one]) => [name, one.rates]));
    const { ratios: found, reasons } = ratiosOf(rates, absent);
    const screened = await screenedSweeps(
      of,
      absent['exact'] ?? (contenders.has('exact') ? undefined : 'exact did not take part'),
    );
    if ('reason' in screened) reasons['screenedVsExact'] = screened.reason;
    return {
      ...about,
      sweep: { pictures: of.images, layers: of.layers },
      ratios: { ...found, screenedVsExact: 'reason' in screened ? null : screened.timesAsFast },
      screened: 'reason' in screened ? null : screened,
      reasons,
      methods,
      agreement,
      torchLoop: torch,
      ceilings,
    };
  } finally {
    await program.close();
    if ('loop' in opened) await opened.loop.close();
  }
}

/**
 * Screened sweeps of a few prompts, SCREENED_IMAGES pictures each, beside exact ones of all channels, which take turns with
 * them over fewer pictures.
 * @param {Settings} of
 * @param {string | undefined} absent why there is no exact sweep
 */
async function screenedSweeps(of, absent) {
  if (of.layers !== 'conv')
    return { reason: `screened sweeps are of the convolutions, this run of --layers ${of.layers}` };
  if (absent !== undefined) return { reason: absent };
  const numbers = [SAMPLES, KEPT, SCREENED_IMAGES, EXACT_IMAGES];
  const args = [of.generator, of.clip, of.threads, ...numbers, ...PROMPTS].map(String);
  /** @type {{ seconds: number, exactSeconds: number, timesAsFast: number }[]} */
  const prompts = JSON.parse(await call(process.execPath, [join(import.meta.dirname, 'screened.mjs'), ...args]));
  /** @param {'seconds' | 'exactSeconds' | 'timesAsFast'} name */
  const middle = (name) => median(prompts.map((one) => one[name]));
  return {
    ...{ kept: KEPT, images: SCREENED_IMAGES, exactImages: EXACT_IMAGES, seconds: middle('seconds') },
    ...{ exactSeconds: middle('exactSeconds'), timesAsFast: middle('timesAsFast'), prompts },
  };
}

/** @param {Settings} of */
async function stages(of) {
  const text = await call(PROGRAM, ['stages', ...programArgs(of)]);
  const { byPrecision } = JSON.parse(text);
  const float32 = byPrecision.float32;
  const list = Object.entries(byPrecision).flatMap(([precision, /** @type {any} */ one]) =>
    one.stages.map((/** @type {Message} */ stage) => ({ precision, batch: one.batch, ...stage })),
  );
  const shares = (/** @type {string} */ field) =>
    Object.fromEntries(Object.entries(byPrecision).map(([name, /** @type {any} */ one]) => [name, one[field]]));
  /** @type {Record<string, string>} */
  const reasons = {};
  for (const [name, share] of Object.entries(float32.shareOfMatmul)) {
    if (share === null) reasons[`shareOfMatmul.${name}`] = 'this generator has no such layer';
  }
  return {
    shareOfMatmul: float32.shareOfMatmul,
    shareOfMatmulByPrecision: shares('shareOfMatmul'),
    shareOfMatmulByTurn: shares('shareOfMatmulByTurn'),
    stages: list,
    reasons,
  };
}

/**
 * The same sweep of one picture through Node and without, pair by pair, each first in half of them.
 * @param {Settings} of
 */
async function nodeOverhead(of) {
  const { program } = await openProgram(of);
  const args = [join(import.meta.dirname, 'node_turns.mjs'), of.generator, of.clip, String(of.threads), SAMPLES];
  const node = new Turns(process.execPath, args, ENV);
  try {
    await node.read();
    const plain = async () => (await program.ask({ do: 'sweep', contender: 'exact', images: 1 }))['seconds'];
    const through = async () => (await node.ask({ images: 1, layers: of.layers }))['seconds'];
    await plain();
    await through();
    const pairs = [];
    for (let i = 0; i < Math.max(1, of.pairs); ++i) {
      const first = i % 2 === 0 ? await plain() : await through();
      const second = i % 2 === 0 ? await through() : await plain();
      pairs.push(i % 2 === 0 ? { plain: first, node: second } : { plain: second, node: first });
    }
    const ratios = pairs.map((pair) => pair.node / pair.plain);
    return { node: { medianRatio: median(ratios), interval95: medianInterval(ratios), pairs } };
  } finally {
    await node.close();
    await program.close();
  }
}

/**
 * Peak resident memory of one sweep, each in a process of its own, and how far that is above the loaded models.
 * @param {Settings} of
 */
async function memory(of) {
  const cases = [
    { memory: 32 * MIB },
    { memory: 64 * MIB },
    { memory: 128 * MIB },
    { memory: 256 * MIB },
    { memory: 128 * MIB, images: 1 },
    { memory: 128 * MIB, images: 4 },
    { memory: 128 * MIB, channels: 160 },
  ];
  const table = [];
  for (const contender of ['exact', 'reference']) {
    for (const one of cases) {
      const { program } = await openProgram(of);
      try {
        const { residentBytes } = await program.ask({ do: 'memory' });
        const { peakBytes, leastBytes, batch, images } = await program.ask({ do: 'sweep', contender, ...one });
        const grownMiB = (peakBytes - residentBytes) / MIB;
        const leastMiB = leastBytes / MIB;
        table.push({ contender, ...one, rendered: images, batch, leastMiB, peakMiB: peakBytes / MIB, grownMiB });
      } finally {
        await program.close();
      }
    }
  }
  return { memory: table };
}

/** @param {Settings} of */
async function scaling(of) {
  const shared = ['--methods', 'reference,exact,exact/bfloat16', '--turns', '3', '--images', '1', '--channels', '160'];
  /** @type {Record<string, unknown>} */
  const curves = {};
  for (const by of ['channels', 'images', 'batch', 'threads', 'resolution']) {
    const steps = by === 'threads' ? ['--steps', availableParallelism() > 1 ? `1,${availableParallelism()}` : '1'] : [];
    const small = by === 'resolution' ? ['--channel-max', '64', '--channels', '64'] : [];
    const answer = await call(PROGRAM, ['scaling', ...programArgs(of), ...shared, '--by', by, ...steps, ...small]);
    curves[by] = JSON.parse(answer).curves;
  }
  return { scaling: curves };
}

/** @param {Record<string, string>} options */
export async function run(options) {
  const folder = await mkdtemp(join(tmpdir(), 'styleclip-bench-'));
  try {
    const of = settingsOf(options, folder);
    await call(process.execPath, [join('tools', 'build.mjs')]);
    await call('cmake', ['-DSTYLECLIP_BENCH=ON', 'build']);
    await call('cmake', ['--build', 'build', '--target', 'styleclip_bench', '--parallel', '2']);
    /** @type {Record<string, unknown>} */
    const result = {};
    if (of.parts.has('ratios')) Object.assign(result, await ratios(of));
    if (of.parts.has('stages')) {
      const { reasons, ...rest } = await stages(of);
      Object.assign(result, rest, {
        reasons: { .../** @type {object | undefined} */ (result['reasons']), ...reasons },
      });
    }
    if (of.parts.has('node')) Object.assign(result, await nodeOverhead(of));
    if (of.parts.has('memory')) Object.assign(result, await memory(of));
    if (of.parts.has('scaling')) Object.assign(result, await scaling(of));
    return result;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param {number | null | undefined} value */
const times = (value) => (value === null || value === undefined ? 'none' : value.toFixed(2));

/** @param {any} result */
export function show(result) {
  const lines = [`${result.machine.cpu}, load ${result.machine.loadBefore} before`];
  for (const method of result.methods ?? []) {
    lines.push(
      `${method.name.padEnd(16)} ${method.imagesPerSecond.toFixed(1).padStart(8)} images/s, batch ${method.batch}`,
    );
  }
  for (const [name, value] of Object.entries(result.ratios ?? {})) lines.push(`${name.padEnd(26)} ${times(value)}`);
  for (const [name, reason] of Object.entries(result.reasons ?? {})) lines.push(`${name}: none, ${reason}`);
  for (const [name, value] of Object.entries(result.shareOfMatmul ?? {})) {
    lines.push(`share of matmul, ${name.padEnd(12)} ${times(value)}`);
  }
  for (const stage of result.stages ?? []) {
    lines.push(
      [
        stage.precision.padEnd(9),
        stage.kind.padEnd(11),
        stage.name.padEnd(11),
        `${(100 * stage.shareOfSweep).toFixed(1).padStart(5)} % of the sweep`,
        `${stage.gflops.toFixed(0).padStart(6)} GFLOP/s`,
        `${stage.gigabytesPerSecond.toFixed(2).padStart(6)} GB/s`,
        `${times(stage.timesFloor).padStart(6)} x floor`,
      ].join('  '),
    );
  }
  if (result.node) {
    const [low, high] = result.node.interval95;
    lines.push(`Node beside C++: ${result.node.medianRatio.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`);
  }
  for (const row of result.memory ?? []) {
    const limit = `memory ${row.memory / MIB} MiB, ${row.rendered} pictures`;
    lines.push(`${row.contender.padEnd(10)} ${limit}: batch ${row.batch}, grown by ${row.grownMiB.toFixed(0)} MiB`);
  }
  for (const [by, curves] of Object.entries(result.scaling ?? {})) {
    for (const curve of curves) {
      const points = curve.points.map(
        (/** @type {any} */ point) => `${point[by]}: ${point.imagesPerSecond.toFixed(0)}`,
      );
      lines.push(`${curve.name.padEnd(16)} images/s by ${by}  ${points.join('  ') || curve.reason}`);
    }
  }
  return `${lines.join('\n')}\n`;
}
