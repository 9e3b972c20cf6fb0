/*
 * What are the operators with gradients worth? Each, forwards and backwards, against the plain composition of libtorch's
 * operators, in turns: time, allocations, the most memory held. bench/program/operators.cpp answers.
 *
 *     --turns 3
 *     --threads 0           0: libtorch's choice
 *     --device cpu          or cuda, with
 *     --cuda-library FILE   styleclip_cuda.so
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const ROOT = join(import.meta.dirname, '..', '..');
const OPTIONS = ['turns', 'threads', 'device', 'cuda-library'];
const MIB = 2 ** 20;

export const describe = 'the operators with gradients against plain compositions: time, allocations, peak memory';

/**
 * @param {string} command
 * @param {string[]} args
 */
async function call(command, args) {
  const { stdout } = await promisify(execFile)(command, args, { cwd: ROOT, maxBuffer: 64 * MIB });
  return stdout;
}

/** @param {Record<string, string>} options */
export async function run(options) {
  const args = ['operators'];
  for (const [name, value] of Object.entries(options)) {
    if (!OPTIONS.includes(name)) throw new Error(`there is no option --${name} of operators`);
    args.push(`--${name}`, value);
  }
  if (!existsSync(join(ROOT, 'build', 'CMakeCache.txt'))) await call(process.execPath, [join('tools', 'build.mjs')]);
  await call('cmake', ['-DSTYLECLIP_BENCH=ON', 'build']);
  await call('cmake', ['--build', 'build', '--target', 'styleclip_bench', '--parallel', '2']);
  const answer = JSON.parse(await call(join(ROOT, 'build', 'bench', 'styleclip_bench'), args));
  return { threads: answer.threads, torch: answer.torch, device: answer.device, operators: answer.operators };
}

/** @param {any} result */
export function show({ threads, device, operators }) {
  const lines = operators.map(
    (/** @type {any} */ o) =>
      `  ${`${o.op}, ${o.shape}, ${o.type}`.padEnd(60)} ${o.fused.milliseconds.toFixed(2)} ms, ` +
      `${o.timesAsFast.median.toFixed(2)} x; ${o.fused.allocations} : ${o.plain.allocations} allocations, ` +
      `peak ${(o.fused.peakBytes / MIB).toFixed(1)} : ${(o.plain.peakBytes / MIB).toFixed(1)} MiB`,
  );
  return [`on ${device}, ${threads} threads`, ...lines, ''].join('\n');
}
