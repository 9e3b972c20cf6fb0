/*
 * Which wheels libtorch is made of. The torch wheel carries libtorch itself; a CUDA build needs libraries out of NVIDIA's
 * wheels besides, at the versions that the torch wheel's own metadata pins.
 */
import { readdir } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { SetupError } from './errors.mjs';

/** Licences of wheels whose metadata an older pip does not pass on. */
const LICENCES = [
  { name: /^torch$/, licence: 'BSD-3-Clause, with parts under Apache-2.0, BSD-2-Clause, BSL-1.0 and MIT' },
  { name: /^(nvidia-|cuda-)/, licence: "NVIDIA's licence for CUDA (proprietary, free of charge)" },
];

/**
 * @param {{ name: string, licence: string }} wheel
 * @returns {string}
 */
export function licenceOf({ name, licence }) {
  return LICENCES.find((l) => l.name.test(name))?.licence ?? licence;
}

/**
 * The requirements that bring the CUDA libraries of a torch wheel, from its Requires-Dist lines; none for a CPU wheel.
 * @param {string[]} requires
 * @param {boolean} everything all libraries that libtorch_cuda needs, not only what libtorch_cpu itself is linked to
 * @returns {string[]}
 */
export function cudaRequirements(requires, everything) {
  const nvidia = requires
    .map((line) => (line.split(';')[0] ?? '').trim())
    .filter((r) => /^(cuda-toolkit|nvidia-)/.test(r));
  if (everything) return nvidia;
  return nvidia.flatMap((requirement) => {
    // 2.12 and newer: one package whose extras name the libraries; before: a package per library.
    if (requirement.startsWith('cuda-toolkit')) return [requirement.replace(/\[[^\]]*\]/, '[cudart,cupti]')];
    return /^nvidia-cuda-(runtime|cupti)\b/.test(requirement) ? [requirement] : [];
  });
}

/**
 * The requirements of the CUDA compiler and what its output is linked with.
 * @param {string} version major.minor of CUDA
 */
export function compilerRequirements(version) {
  return [`cuda-toolkit[nvcc,nvvm,cccl,cudart]==${version}.*`];
}

/**
 * Sorts out what `--from` names: a torch wheel or libtorch archive, or a directory that holds one, with the other wheels
 * beside it.
 * @param {string} from
 * @param {boolean} isDirectory
 * @returns {Promise<{ torch: string, others: string[] }>}
 */
export async function wheelsAt(from, isDirectory) {
  const directory = isDirectory ? from : dirname(from);
  const names = (await readdir(directory)).sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  const torch = isDirectory
    ? names.filter((name) => /^(torch-.*\.whl|libtorch-.*\.zip)$/.test(name)).map((name) => join(directory, name))[0]
    : from;
  if (torch === undefined || !['.whl', '.zip'].includes(extname(torch))) {
    throw new SetupError(
      'LIBTORCH_NOT_FOUND',
      `${from} is neither a torch wheel nor a directory that holds one.`,
      `Give \`--from\` a torch-*.whl (\`pip download --no-deps torch\` brings it), or a directory with the wheels. A libtorch that is already unpacked needs no set-up: set STYLECLIP_LIBTORCH to it.`,
    );
  }
  const others = names.filter((name) => /^nvidia_.*\.whl$/.test(name)).map((name) => join(directory, name));
  return { torch, others };
}

/**
 * The path inside our layout of a file of the torch archive, or undefined for one that is not wanted. A wheel keeps
 * libtorch in torch/, a libtorch archive in libtorch/.
 * @param {string} name
 * @param {boolean} cuda
 * @returns {string | undefined}
 */
export function wantedTorchFile(name, cuda) {
  const path = name.replace(/^libtorch\//, 'torch/');
  if (/^torch\/(version\.py|build-version)$/.test(path)) return path;
  if (path.startsWith('torch/include/')) return path;
  if (/\.dist-info\/(METADATA|licenses\/LICENSE|LICENSE|NOTICE)$/.test(path)) return path;
  const library = /^torch\/lib\/(lib[^/]*\.so[^/]*)$/.exec(path)?.[1];
  if (library === undefined) return undefined;
  if (/^lib(torch_cpu|c10|c10_cuda|gomp[^/]*)\.so/.test(library)) return path;
  return cuda && !/^lib(torch_python|shm|torch_global_deps)\.so/.test(library) ? path : undefined;
}

/**
 * Finds libraries by file name among the entries of an archive.
 * @param {import('./zip.mjs').ZipEntry[]} entries
 * @param {Set<string>} names
 */
export function entriesNamed(entries, names) {
  return entries.filter((entry) => names.has(basename(entry.name)));
}
