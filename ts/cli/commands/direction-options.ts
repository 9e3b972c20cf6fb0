/*
 * What `direction` and `edit` share: the options that name a text direction and choose its style channels, and the way
 * from those options to a global direction.
 */
import { readFile } from 'node:fs/promises';
import { Option, type Command } from 'commander';
import type { GlobalDirection, TextDirection } from '../../direction.js';
import { StyleClipError } from '../../errors.js';
import { Relevance } from '../../relevance.js';
import type { StyleClip } from '../../styleclip.js';
import * as parse from '../parse.js';
import type { Session } from '../session.js';
import type { CommonFlags } from '../settings.js';

/** Flags of `direction` and `edit`. */
export interface DirectionFlags extends CommonFlags {
  target: string;
  neutral: string;
  relevance?: string;
  beta?: number | 'auto';
  channels?: number;
  measure: 'cosine' | 'projection';
  templates?: string;
  not?: string[];
}

/** Adds the options that name a direction; `texts` says whether both texts have to be there. */
export function addDirectionOptions(command: Command, texts: 'required' | 'optional' = 'required'): Command {
  const text = (flags: string, what: string): Option =>
    new Option(flags, what).makeOptionMandatory(texts === 'required');
  return command
    .addOption(text('--target <text>', 'what the picture should become, for example "a cute cat"'))
    .addOption(text('--neutral <text>', 'what it is now, as plainly as possible, for example "a cat"'))
    .option('--relevance <file>', "relevance of the channels, written by `sweep` (default: the model's own)")
    .addOption(
      new Option('--beta <threshold>', 'keep channels of this relevance and more: 0 to 1, or auto (the default)')
        .argParser(parse.beta)
        .conflicts('channels'),
    )
    .addOption(
      new Option('--channels <n>', 'keep this many of the most relevant channels').argParser(
        parse.integerWithin(1, 1_000_000),
      ),
    )
    .addOption(
      new Option('--measure <name>', 'relevance as cosine (released code) or projection (paper)')
        .argParser(parse.oneOf('cosine', 'projection'))
        .default('cosine'),
    )
    .option('--templates <file>', 'prompt templates, one a line, {} where the text goes (default: ImageNet’s 79)')
    .option('--not <text...>', 'leave out the channels that these other targets use');
}

/**
 * The relevance that the flags name, else the one that the models come with, else the channels of this text by screening.
 * Never starts a sweep of all channels.
 */
async function findRelevance(
  session: Session,
  flags: DirectionFlags,
  system: StyleClip,
  text: TextDirection,
): Promise<Relevance> {
  if (flags.relevance !== undefined) {
    const file = await session.input.file(flags.relevance);
    return /\.npy$/i.test(file) ? Relevance.importNpy(file, system.generator, session.run) : Relevance.load(file);
  }
  const shipped = await system.relevance();
  if (shipped !== undefined) return shipped;
  session.output.note(
    'No relevance of the style channels is at hand for this model: the channels of this text are being screened. ' +
      '`styleclip sweep` measures all channels, once for all texts.',
  );
  const chosen = flags.channels === undefined ? { beta: flags.beta ?? 'auto' } : { channels: flags.channels };
  return system.screen(text, { ...chosen, ...session.run });
}

/** Templates of a file: lines that are not empty; each must say where the text goes. */
async function readTemplates(session: Session, path: string): Promise<string[]> {
  const text = await readFile(await session.input.file(path), 'utf8');
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  const bad = lines.find((line) => !line.includes('{}'));
  if (lines.length > 0 && bad === undefined) return lines;
  const what = bad === undefined ? `${path} holds no template` : `${path} has a line without {}: "${bad.slice(0, 60)}"`;
  throw new StyleClipError('FILE_DAMAGED', what, { remedy: 'Write one template a line, for example: a photo of {}.' });
}

/** The way from the flags to a direction in StyleSpace. */
export async function findDirection(
  session: Session,
  flags: DirectionFlags,
  system: StyleClip,
): Promise<GlobalDirection> {
  const templates = flags.templates === undefined ? 'imagenet' : await readTemplates(session, flags.templates);
  const embed = async (target: string): Promise<TextDirection> =>
    system.clip.direction({ neutral: flags.neutral, target, templates, ...session.run });
  const text = await embed(flags.target);
  const relevance = await findRelevance(session, flags, system, text);
  const not: TextDirection[] = [];
  for (const other of flags.not ?? []) not.push(await embed(other));
  return relevance.direction(text, {
    ...(flags.channels === undefined ? { beta: flags.beta ?? 'auto' } : { channels: flags.channels }),
    measure: flags.measure,
    not,
  });
}

/** A direction as `--json` shows it. */
export function directionSummary(direction: GlobalDirection): Record<string, unknown> {
  return {
    target: direction.meta.target,
    neutral: direction.meta.neutral,
    beta: direction.beta,
    largest: direction.largest,
    selected: direction.channels,
    channels: direction.selected.map(({ name, relevance, delta }) => ({ name, relevance, delta })),
  };
}
