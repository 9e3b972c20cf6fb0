/*
 * What a timing needs said with it: processor, cores, memory, system, and how busy the machine was when it began.
 */
import { readFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, loadavg, platform, release, totalmem } from 'node:os';

/** Instruction sets that decide which kernels libtorch picks. */
const FLAGS = ['avx2', 'fma', 'avx512f', 'avx512_bf16', 'amx_bf16', 'asimd', 'sve'];

/** @returns {string[]} those of FLAGS that the processor has; none where the system does not say */
function instructionSets() {
  try {
    const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
    const has = new Set(line.split(' '));
    return FLAGS.filter((flag) => has.has(flag));
  } catch {
    return [];
  }
}

export function machine() {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    instructionSets: instructionSets(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${release().split('-')[0]} ${arch()}`,
    node: process.version,
    /** Processes that wanted a core in the last minute, before the benchmark began: above 0.5, timings are suspect. */
    loadBefore: Number(loadavg()[0]?.toFixed(2)),
  };
}

/**
 * A file name's part for a machine.
 * @param {ReturnType<typeof machine>} of
 */
export function slug(of) {
  const name = of.cpu
    .toLowerCase()
    .replaceAll(/\(r\)|\(tm\)|cpu|processor|@.*$/g, '')
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');
  return `${name || 'unknown'}-${of.cores}-cores`;
}
