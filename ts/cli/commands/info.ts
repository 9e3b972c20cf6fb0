/*
 * `styleclip info FILE`: what an archive says of itself; nothing of it is compiled or run (but for --layout, which loads
 * the generator).
 */
import type { Command } from 'commander';
import { describeArchive } from '../../archive.js';
import { StyleClipError } from '../../errors.js';
import { Generator } from '../../generator.js';
import { inspectCheckpoint, type CheckpointInfo } from '../../importing.js';
import { textTable } from '../../report/table.js';
import type { StyleLayout } from '../../types.js';
import { modelOptions } from '../models.js';
import type { Outcome } from '../output.js';
import type { Session, Start } from '../session.js';
import type { CommonFlags } from '../settings.js';

interface Flags extends CommonFlags {
  layout?: true;
}

export function infoCommand(command: Command, start: Start): Command {
  return command
    .name('info')
    .description('what a model archive says of itself: kind, architecture, sizes, licence')
    .argument('<file>', 'archive; - reads standard input')
    .option('--layout', "a generator's style layers too")
    .action(async (file: string, flags: Flags) => start('info', flags, (session) => info(session, file, flags)));
}

/** A value of the description in one line; a list of objects (the style layers) only by its length. */
function oneLine(value: unknown): string {
  if (typeof value === 'string') return value;
  const long = Array.isArray(value) && value.some((item) => typeof item === 'object');
  return long ? `${value.length} entries` : JSON.stringify(value);
}

async function info(session: Session, given: string, flags: Flags): Promise<Outcome> {
  const file = await session.input.file(given);
  const archive = await describeArchive(file).catch(async (e: unknown) => notAnArchive(session, file, e));
  if (!('description' in archive)) return checkpoint(archive, given);
  const { kind, bytes, sha256, description } = archive;
  const facts: Record<string, unknown> = { kind, ...description, file: given, bytes, sha256 };
  const text = Object.entries(facts).map(([name, value]) => `${name.padEnd(20)} ${oneLine(value)}`);
  const layout = flags.layout === true ? await styleLayout(session, file) : undefined;
  if (layout !== undefined) {
    const rows = layout.layers.map((l) => [l.name, l.resolution, l.channels, l.wRow, l.offset]);
    text.push('', textTable({ columns: ['layer', 'resolution', 'channels', 'w row', 'offset'], rows }));
    const { conv, torgb, total } = layout.styleChannels;
    text.push(`${conv} conv + ${torgb} toRGB = ${total} style channels`);
  }
  return { text, result: { ...facts, ...(layout === undefined ? {} : { layout }) } };
}

/** What a file is that is no archive: a checkpoint, if it can be read as one; else the first error counts. */
async function notAnArchive(session: Session, file: string, error: unknown): Promise<CheckpointInfo> {
  if (!StyleClipError.is(error) || error.code !== 'ERR_STYLECLIP_FORMAT_UNKNOWN') throw error;
  return inspectCheckpoint(file, session.run);
}

function checkpoint(found: CheckpointInfo, given: string): Outcome {
  const { parts, outline, container, bytes, sha256 } = found;
  const facts = { kind: 'checkpoint', container, parts, outline, file: given, bytes, sha256 };
  const text = [
    `${'kind'.padEnd(20)} checkpoint, no archive yet`,
    ...Object.entries({ container, outline, file: given, bytes, sha256 }).map(
      ([name, value]) => `${name.padEnd(20)} ${value}`,
    ),
    ...parts.map(
      ({ kind, format }) =>
        `${'holds'.padEnd(20)} ${kind} (${format}): styleclip import ${kind} ${given} --out ${kind}.pt`,
    ),
    ...(parts.length === 0 ? ['No model of a format that is known.'] : []),
  ];
  return { text, result: facts };
}

async function styleLayout(session: Session, file: string): Promise<StyleLayout> {
  await using generator = await Generator.load(file, modelOptions(session));
  return generator.layout;
}
