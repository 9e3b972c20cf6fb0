/*
 * `styleclip make KIND`: builds a model archive, from weights under the field's names or with random ones (full-size models
 * for timing, small ones for tests).
 */
import { readFile } from 'node:fs/promises';
import { Argument, Option, type Command } from 'commander';
import { makeArchive, type MakeOptions } from '../../archive.js';
import { StyleClipError } from '../../errors.js';
import type { Outcome } from '../output.js';
import * as parse from '../parse.js';
import type { Session, Start } from '../session.js';
import type { CommonFlags } from '../settings.js';
import { targetFile } from '../target.js';

const KINDS = ['stylegan2', 'clip', 'ir-se', 'e4e', 'mapper'] as const;
type Kind = (typeof KINDS)[number];

interface Flags extends CommonFlags {
  size?: number;
  channels?: number[];
  styleWidth?: number;
  arch?: string;
  random?: true;
  weights?: string;
  config?: string;
  tokenizer?: string;
  licence?: string;
  dtype?: 'float32' | 'float16' | 'bfloat16';
}

/** What the flags are called in a configuration, and which kinds have it (docs/models.md). */
const FIELDS: readonly { flag: 'size' | 'channels' | 'styleWidth' | 'arch'; field: string; kinds: readonly Kind[] }[] =
  [
    { flag: 'size', field: 'image_size', kinds: ['stylegan2', 'clip', 'ir-se', 'e4e'] },
    { flag: 'channels', field: 'channels', kinds: ['stylegan2', 'ir-se', 'e4e', 'mapper'] },
    { flag: 'styleWidth', field: 'style_width', kinds: ['stylegan2', 'e4e', 'mapper'] },
    { flag: 'arch', field: 'preset', kinds: ['clip'] },
  ];

export function makeCommand(command: Command, start: Start): Command {
  return command
    .name('make')
    .description('build a model archive from weights, or with random ones')
    .addArgument(new Argument('<kind>', 'architecture').choices(KINDS))
    .addOption(new Option('--size <pixels>', 'picture size').argParser(parse.integerWithin(8, 4096)))
    .addOption(
      new Option('--channels <list>', 'channels, from the smallest resolution to the largest').argParser(
        parse.integerList(1, 8192),
      ),
    )
    .addOption(new Option('--style-width <n>', 'width of w').argParser(parse.integerWithin(1, 8192)))
    .option(
      '--arch <name>',
      "CLIP's size: ViT-B/32 (default), ViT-B/16, ViT-L/14, ViT-L/14@336px, RN50, RN101, RN50x4, ...",
    )
    .addOption(
      new Option('--random', 'random weights, drawn from --seed as the papers say (default)').conflicts('weights'),
    )
    .option('--weights <file>', "weights under the field's names (.safetensors)")
    .option('--config <file>', 'the whole configuration (.json, docs/models.md); the flags above win over it')
    .option('--tokenizer <file>', 'tokenizer.json of a CLIP model')
    .option('--licence <text>', 'licence of the weights (default: unknown)')
    .addOption(
      new Option('--dtype <type>', 'number type that weights are stored in')
        .argParser(parse.oneOf('float32', 'float16', 'bfloat16'))
        .default('float32'),
    )
    .action(async (kind: Kind, flags: Flags) => start('make', flags, (session) => make(session, kind, flags)));
}

/** The configuration: the file's, with the flags on top. */
async function configuration(session: Session, kind: Kind, flags: Flags): Promise<Record<string, unknown>> {
  const config: Record<string, unknown> = flags.config === undefined ? {} : await readObject(session, flags.config);
  for (const { flag, field, kinds } of FIELDS) {
    const value = flags[flag];
    if (value === undefined) continue;
    if (!kinds.includes(kind)) {
      const name = flag === 'styleWidth' ? 'style-width' : flag;
      throw new StyleClipError('ARGUMENT', `--${name} means nothing for ${kind}`, { remedy: 'Leave it out.' });
    }
    config[field] = value;
  }
  return config;
}

async function readObject(session: Session, path: string): Promise<Record<string, unknown>> {
  const text = await readFile(await session.input.file(path), 'utf8');
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
    throw new SyntaxError('no object');
  } catch (cause) {
    throw new StyleClipError('FILE_DAMAGED', `${path} holds no JSON object`, { remedy: 'Correct the file.', cause });
  }
}

async function make(session: Session, kind: Kind, flags: Flags): Promise<Outcome> {
  const file = await targetFile(flags.out ?? `${kind}.pt`, flags.force === true);
  const options: MakeOptions = {
    kind,
    config: await configuration(session, kind, flags),
    weights: flags.weights === undefined ? undefined : await session.input.file(flags.weights),
    tokenizer:
      flags.tokenizer === undefined ? undefined : await readFile(await session.input.file(flags.tokenizer), 'utf8'),
    seed: flags.seed,
    storageDtype: flags.dtype,
    licence: flags.licence,
    ...session.run,
  };
  const { parameters, bytes, sha256 } = await makeArchive(file, options);
  return {
    text: [file, `${parameters.toLocaleString('en')} parameters, ${bytes.toLocaleString('en')} bytes`],
    result: { file, kind, parameters, bytes, sha256 },
  };
}
