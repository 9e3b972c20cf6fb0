/*
 * Run in a process of its own by the doctor, because a libtorch that does not fit can end the process that opens it.
 * Opens the native part, lists the devices, and with `--work` builds a very small generator and draws a picture with it.
 * Prints one JSON object.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeArchive } from '../archive.js';
import { configure } from '../configure.js';
import { StyleClipError } from '../errors.js';
import { Generator } from '../generator.js';
import { devices, versions } from '../runtime.js';

/** What the probe prints. */
export interface ProbeReport {
  versions?: ReturnType<typeof versions>;
  devices?: string[];
  /** Milliseconds for making, loading and running the small generator. */
  milliseconds?: number;
  /** What failed, and how. */
  error?: { stage: 'opens' | 'devices' | 'runs a small model'; code: string; message: string; remedy: string };
}

/** Builds, loads and runs the smallest generator there is. */
async function work(): Promise<number> {
  const begun = performance.now();
  const directory = await mkdtemp(join(tmpdir(), 'styleclip-doctor-'));
  try {
    const file = join(directory, 'small.pt');
    const config = { imageSize: 8, channelMax: 8, styleWidth: 8, zWidth: 8, mappingLayers: 1 };
    await makeArchive(file, { kind: 'stylegan2', config });
    await using generator = await Generator.load(file, { device: 'cpu' });
    const latents = await generator.sample({ count: 1, seed: 0 });
    const images = await generator.synthesize(latents);
    if (images.count !== 1) throw new Error(`one picture was asked for, ${images.count} came`);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return performance.now() - begun;
}

async function probe(args: readonly string[]): Promise<ProbeReport> {
  const report: ProbeReport = {};
  let stage: NonNullable<ProbeReport['error']>['stage'] = 'opens';
  try {
    const libtorch = args.find((arg) => !arg.startsWith('--'));
    if (libtorch !== undefined) configure({ libtorch });
    report.versions = versions();
    stage = 'devices';
    report.devices = await devices();
    stage = 'runs a small model';
    if (args.includes('--work')) report.milliseconds = await work();
  } catch (error) {
    const known = StyleClipError.is(error);
    report.error = {
      stage,
      code: known ? error.code : 'ERR_STYLECLIP_INTERNAL',
      message: error instanceof Error ? error.message : String(error),
      remedy: known ? error.remedy : '',
    };
  }
  return report;
}

process.stdout.write(`${JSON.stringify(await probe(process.argv.slice(2)))}\n`);
