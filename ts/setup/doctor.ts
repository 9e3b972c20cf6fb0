/*
 * `styleclip doctor`: what this machine has, what is missing, and the command that repairs it. Reads files and asks other
 * processes; the native part is opened in a child process only, so that the doctor survives whatever it finds.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { discoverLibtorch } from '../../tools/libtorch/discover.mjs';
import { librariesToOpen } from '../../tools/libtorch/inspect.mjs';
import { cacheDirectory } from '../../tools/libtorch/places.mjs';
import { libtorchOption } from '../configure.js';
import { StyleClipError } from '../errors.js';
import { addonFilesIn, addonFolders, checkPlatform, type AddonFiles } from '../load.js';
import type { ProbeReport } from './probe.js';

/** Options of {@link runDoctor}. */
export interface DoctorOptions {
  /** Also build and run a very small model, in the child process. */
  load?: boolean | undefined;
  /** Settings and where their values came from, which are listed among the checks. */
  settings?: readonly { name: string; value: string; source: string }[] | undefined;
}

/** One line of the report. */
export interface Check {
  name: string;
  ok: boolean;
  value: string;
  remedy?: string;
}

/** What {@link runDoctor} resolves to. */
export interface DoctorResult {
  checks: Check[];
  platform: string;
  node: string;
  napi: number;
  libtorch: { path: string; version: string; variant: string; source: string } | null;
  addon: { path: string; builtWith: string; cuda: string | null } | null;
  devices: string[];
}

const PROBE_LIMIT_MS = 120_000;

/** Looks at everything the package needs. Never throws for what it finds: that is in `checks`. */
export async function runDoctor(options: DoctorOptions = {}): Promise<DoctorResult> {
  const checks: Check[] = [platformCheck(), machineCheck()];
  const addon = checkAddon(checks);
  const libtorch = checkLibtorch(checks, addon);
  const devices = addon && libtorch ? await checkOpens(checks, options.load ?? false) : [];
  checks.push(driverCheck(), await cacheCheck());
  for (const { name, value, source } of options.settings ?? []) {
    checks.push({ name: `setting ${name}`, ok: true, value: `${value} (${source})` });
  }
  return {
    checks,
    platform: `${process.platform}-${process.arch}`,
    node: process.versions.node,
    napi: Number(process.versions.napi),
    libtorch,
    addon: addon ? { path: addon.addon, builtWith: addon.builtWith, cuda: addon.cuda ?? null } : null,
    devices,
  };
}

function platformCheck(): Check {
  const { platform, arch, versions } = process;
  const value = `${platform}-${arch}, Node.js ${versions.node}, Node-API ${versions.napi}`;
  try {
    checkPlatform();
    return { name: 'platform', ok: true, value };
  } catch (error) {
    const { message, remedy } = StyleClipError.from(error, 'PLATFORM', String(error), '');
    return { name: 'platform', ok: false, value: `${value}: ${message}`, remedy };
  }
}

function machineCheck(): Check {
  const model = cpus()[0]?.model ?? 'unknown processor';
  const memory = `${(totalmem() / 2 ** 30).toFixed(0)} GiB of memory`;
  return { name: 'machine', ok: true, value: `${model}, ${availableParallelism()} cores, ${memory}` };
}

function checkAddon(checks: Check[]): AddonFiles | undefined {
  const found = addonFolders().map((folder) => ({ folder, files: addonFilesIn(folder) }));
  const files = found.map((f) => f.files).find((f): f is AddonFiles => typeof f !== 'string');
  if (files) {
    checks.push({ name: 'addon', ok: true, value: `${files.addon}, built with libtorch ${files.builtWith}` });
    checks.push({ name: 'CUDA plug-in', ok: true, value: files.cuda ?? 'not built' });
    return files;
  }
  const value = found.map((f) => `${f.folder}: ${f.files as string}`).join('; ');
  checks.push({
    name: 'addon',
    ok: false,
    value,
    remedy: 'Install the package again, or clone the repository and run `npm run build`.',
  });
  return undefined;
}

function checkLibtorch(checks: Check[], addon: AddonFiles | undefined): DoctorResult['libtorch'] {
  const option = libtorchOption();
  const { found, attempts } = discoverLibtorch({
    ...(addon ? { builtWith: addon.builtWith } : {}),
    ...(option === undefined ? {} : { libtorch: option }),
  });
  if (!found) {
    const value = attempts.map((a) => `${a.source}${a.place ? ` (${a.place})` : ''}: ${a.reason}`).join('; ');
    checks.push({ name: 'libtorch', ok: false, value, remedy: 'Run `npx styleclip setup`.' });
    return null;
  }
  const { directory, version, variant, source } = found;
  checks.push({ name: 'libtorch', ok: true, value: `${version} at ${directory} (from ${source})` });
  const { missing } = librariesToOpen(directory);
  if (missing.length > 0) {
    const remedy = 'Run `npx styleclip setup` to fetch a complete libtorch.';
    checks.push({ name: "libtorch's libraries", ok: false, value: `not found: ${missing.join(', ')}`, remedy });
  }
  return { path: directory, version, variant, source };
}

/** Opens everything in a child process; the devices it lists. */
async function checkOpens(checks: Check[], work: boolean): Promise<string[]> {
  const option = libtorchOption();
  const program = fileURLToPath(new URL('./probe.js', import.meta.url));
  const args = [program, ...(work ? ['--work'] : []), ...(option === undefined ? [] : [option])];
  const { report, ended } = await runProbe(args);
  if (report?.versions) {
    const { torch, builtTorch } = report.versions;
    checks.push({ name: 'opens', ok: true, value: `libtorch ${torch}, built with ${builtTorch}` });
  }
  if (report?.devices) checks.push({ name: 'devices', ok: true, value: report.devices.join(', ') });
  if (report?.milliseconds !== undefined) {
    checks.push({ name: 'runs a small model', ok: true, value: `${report.milliseconds.toFixed(0)} ms` });
  }
  if (report?.error) {
    const { stage, message, remedy } = report.error;
    checks.push({ name: stage, ok: false, value: message, remedy });
  }
  if (report === undefined) {
    const remedy = 'Run `npx styleclip setup`; if that does not help, report this with the whole output of doctor.';
    checks.push({ name: 'opens', ok: false, value: `the process that opened libtorch ${ended}`, remedy });
  }
  return report?.devices ?? [];
}

function runProbe(args: string[]): Promise<{ report: ProbeReport | undefined; ended: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: PROBE_LIMIT_MS });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', (error) => resolve({ report: undefined, ended: `could not be started: ${error.message}` }));
    child.on('close', (status, signal) => {
      const ended = signal ? `was ended by ${signal}` : `ended with status ${String(status)}`;
      const last = stderr.trim().split('\n').at(-1);
      resolve({ report: parseReport(stdout), ended: last ? `${ended}: ${last}` : ended });
    });
  });
}

function parseReport(text: string): ProbeReport | undefined {
  try {
    return JSON.parse(text) as ProbeReport;
  } catch {
    return undefined;
  }
}

function driverCheck(): Check {
  const file = '/proc/driver/nvidia/version';
  const line = existsSync(file) ? readFileSync(file, 'utf8').split('\n')[0] : undefined;
  return { name: 'CUDA driver', ok: true, value: line?.replace(/^NVRM version:\s*/, '') ?? 'none' };
}

async function cacheCheck(): Promise<Check> {
  const directory = cacheDirectory();
  let there = directory;
  while (!existsSync(there)) there = dirname(there);
  const { bavail, bsize } = await statfs(there);
  return { name: 'cache', ok: true, value: `${directory}, ${((bavail * bsize) / 2 ** 30).toFixed(1)} GiB free` };
}
