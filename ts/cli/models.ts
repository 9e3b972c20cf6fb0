/*
 * Which models a command works with. `--model` names a set (`cats`, or a folder); `--generator`, `--clip`, `--identity` and
 * `--encoder` name single archives instead. A command loads only what it needs.
 */
import { Clip } from '../clip.js';
import { Encoder } from '../encoder.js';
import { StyleClipError } from '../errors.js';
import { Generator } from '../generator.js';
import { filesIn, modelFolder } from '../model-folder.js';
import { StyleClip } from '../styleclip.js';
import type { Dtype, ModelOptions } from '../types.js';
import type { Session } from './session.js';

type Kind = 'generator' | 'clip' | 'identity' | 'encoder';
const KINDS: readonly Kind[] = ['generator', 'clip', 'identity', 'encoder'];

/** How every model of a command is loaded. */
export function modelOptions(session: Session, dtype?: Dtype): ModelOptions {
  const { device, trust } = session.flags;
  return { device, dtype, signal: session.signal, trust: trust === true };
}

/** The archives named one by one; undefined when none is, and --model counts. */
function singleFiles(session: Session): Partial<Record<Kind, string>> | undefined {
  const given = KINDS.flatMap((kind) => {
    const file = session.flags[kind];
    return file === undefined ? [] : [[kind, file] as const];
  });
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

/** The archive of one kind. */
async function fileOf(session: Session, kind: Kind): Promise<string> {
  const single = singleFiles(session);
  const file = single === undefined ? (await filesIn(modelFolder(session.flags.model)))[kind] : single[kind];
  if (file !== undefined) return file;
  const where = single === undefined ? `--model ${session.flags.model}` : 'the archives named';
  throw new StyleClipError('ARGUMENT', `this command needs a ${kind}, and ${where} has none`, {
    remedy: `Name its archive with --${kind} FILE.`,
  });
}

/** What is added to the generator. */
async function differenceFile(session: Session): Promise<string | undefined> {
  const { difference } = session.flags;
  return difference === undefined ? undefined : session.input.file(difference);
}

/** The generator alone. */
export async function loadGenerator(session: Session): Promise<Generator> {
  const difference = await differenceFile(session);
  return Generator.load(await fileOf(session, 'generator'), { ...modelOptions(session), difference });
}

/** The encoder alone, where there is one. */
export async function loadEncoder(session: Session): Promise<Encoder | undefined> {
  const files = singleFiles(session) ?? (await filesIn(modelFolder(session.flags.model)));
  return files.encoder === undefined ? undefined : Encoder.load(files.encoder, modelOptions(session));
}

/** The CLIP model alone. */
export async function loadClip(session: Session): Promise<Clip> {
  return Clip.load(await fileOf(session, 'clip'), modelOptions(session));
}

/** Everything there is. */
export async function loadSystem(session: Session, dtype?: Dtype): Promise<StyleClip> {
  const single = singleFiles(session);
  const options = { ...modelOptions(session, dtype), difference: await differenceFile(session) };
  return single === undefined
    ? StyleClip.load(session.flags.model, options)
    : StyleClip.load({ ...single, ...options });
}
