/*
 * The options that every command has, and where their values come from: a flag beats an environment variable beats
 * `styleclip.config.json` in the working directory beats the default. Commander keeps the source beside each value, which
 * is what `doctor` prints.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { StyleClipError } from '../errors.js';
import * as parse from './parse.js';

/** Name of the configuration file, looked for in the working directory only. */
export const CONFIG_FILE = 'styleclip.config.json';

/** The values of the options that every command has. */
export interface CommonFlags {
  device: 'auto' | 'cpu' | 'cuda' | `cuda:${number}`;
  threads?: number;
  json?: true;
  quiet?: true;
  verbose?: true;
  seed: bigint;
  out?: string;
  model: string;
  generator?: string;
  clip?: string;
  identity?: string;
  encoder?: string;
  difference?: string;
  trust?: true;
  force?: true;
}

/** Settings without a flag: read from the environment by the rest of the package. Key in the file -> variable. */
const ENVIRONMENT_ONLY: Readonly<Record<string, string>> = {
  libtorch: 'STYLECLIP_LIBTORCH',
  cache: 'STYLECLIP_CACHE',
  log: 'STYLECLIP_LOG',
};

/** Flags that may stand in the configuration file, under their names in snake case. */
const CONFIGURABLE = ['device', 'threads', 'seed', 'model', 'generator', 'clip', 'identity', 'encoder'];

/** Adds the options that every command has. */
export function addCommonOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--device <device>', 'where models run: auto, cpu, cuda, cuda:n')
        .argParser(parse.device)
        .env('STYLECLIP_DEVICE')
        .default('auto'),
    )
    .addOption(
      new Option('--threads <n>', 'processor threads (default: one a core)')
        .argParser(parse.integerWithin(1, 1024))
        .env('STYLECLIP_THREADS'),
    )
    .addOption(new Option('--seed <n>', 'seed of whatever is random').argParser(parse.seed).default(0n, '0'))
    .addOption(new Option('--model <name|dir>', 'a model shipped with the package, or a folder').default('cats'))
    .option('--generator <file>', 'generator archive, instead of --model')
    .option('--clip <file>', 'CLIP archive, instead of --model')
    .option('--identity <file>', 'identity archive, instead of --model')
    .option('--encoder <file>', 'encoder archive, instead of --model')
    .option('--difference <file>', 'what a pivotal tuning (invert --method pti) added to the generator')
    .option('--trust', 'run the code inside archives that this package did not write')
    .option('--out <path>', 'where results are written')
    .option('--force', 'overwrite what is there')
    .option('--json', 'print one JSON object on stdout')
    .option('--quiet', 'print nothing on stdout, no progress on stderr')
    .option('--verbose', 'print more on stderr, stacks of errors too');
}

/** The configuration file's settings; an empty object when there is no file. */
export async function readConfig(directory: string): Promise<Readonly<Record<string, string | number>>> {
  const file = join(directory, CONFIG_FILE);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return {};
    throw new StyleClipError('FILE_NOT_FOUND', `${CONFIG_FILE} cannot be read`, {
      remedy: `Make ${file} readable, or remove it.`,
      cause,
    });
  }
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw damaged(`${CONFIG_FILE} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw damaged(`${CONFIG_FILE} holds no JSON object`);
  }
  const known = [...CONFIGURABLE, ...Object.keys(ENVIRONMENT_ONLY)];
  const config: Record<string, string | number> = {};
  for (const [key, value] of Object.entries(content)) {
    if (!known.includes(key)) throw damaged(`${CONFIG_FILE} has an unknown setting "${key}"`);
    if (typeof value !== 'string' && typeof value !== 'number') {
      throw damaged(`${CONFIG_FILE}: "${key}" is neither a text nor a number`);
    }
    config[key] = value;
  }
  return config;
}

function damaged(message: string): StyleClipError {
  const known = [...CONFIGURABLE, ...Object.keys(ENVIRONMENT_ONLY)].join(', ');
  return new StyleClipError('FILE_DAMAGED', message, { remedy: `Correct the file. Settings: ${known}.` });
}

/** Gives a command the configuration file's values; parsing then puts environment variables and flags on top. */
export function applyConfig(command: Command, config: Readonly<Record<string, string | number>>): void {
  for (const option of command.options) {
    const name = option.attributeName();
    const value = config[name];
    if (value === undefined || !CONFIGURABLE.includes(name)) continue;
    try {
      const parsed: unknown = option.parseArg === undefined ? String(value) : option.parseArg(String(value), undefined);
      command.setOptionValueWithSource(name, parsed, 'config');
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) throw error;
      throw damaged(`${CONFIG_FILE}: "${name}" is invalid. ${error.message}`);
    }
  }
}

/** One setting, with where its value came from. */
export interface SettingSource {
  readonly name: string;
  readonly value: string;
  readonly source: 'flag' | 'environment' | 'configuration file' | 'default';
}

const SOURCES: Readonly<Record<string, SettingSource['source']>> = {
  cli: 'flag',
  env: 'environment',
  config: 'configuration file',
};

/**
 * Passes settings without a flag on to the rest of the package, which reads the environment, and tells where every
 * setting came from. An empty variable counts as not set.
 */
export function exportSettings(
  command: Command,
  config: Readonly<Record<string, string | number>>,
  env: NodeJS.ProcessEnv,
): SettingSource[] {
  const flags = CONFIGURABLE.map((name): SettingSource => {
    const value = command.getOptionValue(name) as string | number | bigint | undefined;
    const source = SOURCES[command.getOptionValueSource(name) ?? ''] ?? 'default';
    return { name, value: value === undefined ? '' : String(value), source };
  });
  const others = Object.entries(ENVIRONMENT_ONLY).map(([name, variable]): SettingSource => {
    const set = env[variable] ?? '';
    if (set !== '') return { name, value: set, source: 'environment' };
    const value = config[name];
    if (value === undefined) return { name, value: '', source: 'default' };
    env[variable] = String(value);
    return { name, value: String(value), source: 'configuration file' };
  });
  return [...flags, ...others];
}

/** Removes empty variables of this package, which count as not set. */
export function dropEmptyVariables(env: NodeJS.ProcessEnv): void {
  for (const name of ['STYLECLIP_DEVICE', 'STYLECLIP_THREADS', ...Object.values(ENVIRONMENT_ONLY)]) {
    if (env[name] === '') delete env[name];
  }
}
