/*
 * Compares what ptxas said of every kernel, on every target, with the table cuda/resources.json: registers, spilled
 * bytes, shared memory. A kernel that begins to spill, or takes registers that cost it a resident block, looks like any
 * other in a build without a GPU; here it is a difference that has to be looked at and checked in.
 *
 *   node tools/check-cuda-resources.mjs --nvcc 13.0.88 --table cuda/resources.json [--update] <ptxas text>...
 *
 * The table belongs to one version of nvcc. Under another one only new spills count, since registers may differ. Targets
 * that were not compiled are not compared. Exits 1 on a difference.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

/** @typedef {import('./check-cuda-resources.mjs').Kernels} Kernels */
/** @typedef {import('./check-cuda-resources.mjs').Table} Table */

/**
 * A mangled kernel's name with its template arguments: `accumulate_directions_kernel<float>`.
 * @param {string[]} mangled
 * @returns {string[]}
 */
function kernelNames(mangled) {
  if (mangled.length === 0) return [];
  const lines = execFileSync('c++filt', { input: mangled.join('\n'), encoding: 'utf8' })
    .trim()
    .split('\n');
  return lines.map((line) => {
    const name = /(\w+(?:<[^()]*>)?)\((?!anonymous)/.exec(line.replaceAll('(anonymous namespace)::', ''))?.[1];
    if (name === undefined) throw new Error(`no kernel name in "${line}"`);
    return name;
  });
}

/**
 * Reads ptxas's verbose output.
 * @param {string} text
 * @returns {Kernels}
 */
export function parsePtxas(text) {
  /** @type {{ mangled: string, target: string, spilledBytes?: number, registers?: number, sharedBytes?: number }[]} */
  const entries = [];
  for (const line of text.split('\n')) {
    const entry = /Compiling entry function '(\w+)' for '(sm_\w+)'/.exec(line);
    if (entry) entries.push({ mangled: entry[1] ?? '', target: entry[2] ?? '' });
    const current = entries.at(-1);
    if (current === undefined) continue;
    const spilled = /(\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (spilled) current.spilledBytes = Number(spilled[1]) + Number(spilled[2]);
    const used = /Used (\d+) registers/.exec(line);
    if (used) {
      current.registers = Number(used[1]);
      current.sharedBytes = Number(/(\d+) bytes smem/.exec(line)?.[1] ?? 0);
    }
  }
  const names = kernelNames(entries.map((entry) => entry.mangled));
  /** @type {Kernels} */
  const kernels = {};
  for (const [i, { target, registers, spilledBytes, sharedBytes }] of entries.entries()) {
    const name = names[i] ?? '';
    if (registers === undefined || spilledBytes === undefined || sharedBytes === undefined) {
      throw new Error(`ptxas says nothing of the registers of ${name} on ${target}`);
    }
    (kernels[name] ??= {})[target] = { registers, spilledBytes, sharedBytes };
  }
  return kernels;
}

/**
 * @param {Table} table
 * @param {Table} found
 * @returns {string[]} what differs, a line each
 */
export function differences(table, found) {
  const sameCompiler = table.nvcc === found.nvcc;
  const lines = [];
  for (const name of new Set([...Object.keys(table.kernels), ...Object.keys(found.kernels)])) {
    const expected = table.kernels[name];
    const compiled = found.kernels[name];
    if (expected === undefined || compiled === undefined) {
      lines.push(`${name}: ${expected === undefined ? 'is not in the table' : 'was not compiled'}`);
      continue;
    }
    for (const [target, now] of Object.entries(compiled)) {
      const before = expected[target];
      if (before === undefined) {
        lines.push(`${name}, ${target}: is not in the table`);
        continue;
      }
      if (now.spilledBytes > before.spilledBytes || (sameCompiler && now.spilledBytes !== before.spilledBytes)) {
        lines.push(`${name}, ${target}: spills ${now.spilledBytes} bytes, not ${before.spilledBytes}`);
      }
      if (sameCompiler && now.registers !== before.registers) {
        lines.push(`${name}, ${target}: takes ${now.registers} registers, not ${before.registers}`);
      }
      if (sameCompiler && now.sharedBytes !== before.sharedBytes) {
        lines.push(`${name}, ${target}: takes ${now.sharedBytes} bytes of shared memory, not ${before.sharedBytes}`);
      }
    }
  }
  return lines;
}

/** A target a line, since a table is read by its differences. @param {Table} table */
function format(table) {
  const kernels = Object.entries(table.kernels)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, targets]) => {
      const rows = Object.entries(targets)
        .toSorted(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }))
        .map(([target, r]) => {
          const { registers, spilledBytes, sharedBytes } = r;
          return `      "${target}": { "registers": ${registers}, "spilledBytes": ${spilledBytes}, "sharedBytes": ${sharedBytes} }`;
        });
      return `    ${JSON.stringify(name)}: {\n${rows.join(',\n')}\n    }`;
    });
  return `{\n  "nvcc": "${table.nvcc}",\n  "kernels": {\n${kernels.join(',\n')}\n  }\n}\n`;
}

function main() {
  const { values, positionals } = parseArgs({
    options: { nvcc: { type: 'string' }, table: { type: 'string' }, update: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  if (values.nvcc === undefined || values.table === undefined || positionals.length === 0) {
    console.error('Usage: check-cuda-resources.mjs --nvcc <version> --table <file> [--update] <ptxas text>...');
    return 2;
  }
  /** @type {Table} */
  const found = { nvcc: values.nvcc, kernels: {} };
  for (const file of positionals) Object.assign(found.kernels, parsePtxas(readFileSync(file, 'utf8')));
  if (Object.keys(found.kernels).length === 0) {
    console.error(`No kernel in ${positionals.join(', ')}.`);
    return 1;
  }
  if (values.update) {
    writeFileSync(`${values.table}.new`, format(found));
    renameSync(`${values.table}.new`, values.table);
    return 0;
  }
  const table = /** @type {Table} */ (JSON.parse(readFileSync(values.table, 'utf8')));
  const lines = differences(table, found);
  for (const line of lines) console.error(line);
  const kernels = Object.keys(found.kernels).length;
  if (lines.length === 0)
    console.log(`${kernels} kernels as in the table (nvcc ${values.nvcc}, table of ${table.nvcc})`);
  else
    console.error('If that is meant: cmake --build <build> --target styleclip_cuda_resources, and check the table in.');
  return lines.length === 0 ? 0 : 1;
}

if (import.meta.filename === process.argv[1]) process.exitCode = main();
