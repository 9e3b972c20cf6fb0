/*
 * `styleclip import KIND FILE`: makes an archive of a checkpoint of the field, without running any of it.
 */
import { Argument, Option, type Command } from 'commander';
import { importCheckpoint, type CheckpointKind, type ImportCheckpointOptions } from '../../importing.js';
import type { Outcome } from '../output.js';
import * as parse from '../parse.js';
import type { Session, Start } from '../session.js';
import type { CommonFlags } from '../settings.js';
import { targetFile } from '../target.js';

const KINDS = ['auto', 'generator', 'clip', 'identity', 'encoder', 'mapper'] as const;

interface Flags extends CommonFlags {
  dtype: 'source' | 'float32' | 'float16' | 'bfloat16';
  licence?: string;
  tokenizer?: string[];
  activation?: 'quickgelu' | 'gelu';
  config?: string;
}

export function importCommand(command: Command, start: Start): Command {
  return command
    .name('import')
    .description("make an archive of a checkpoint: rosinality's and NVIDIA's StyleGAN2, CLIP, IR-SE50, e4e, mappers")
    .addArgument(new Argument('<kind>', 'what to take from the file').choices(KINDS))
    .argument('<file>', 'checkpoint (.pt, .pth, .pkl, .safetensors); - reads standard input')
    .addOption(
      new Option('--dtype <type>', 'number type that weights are stored in; source: as in the file')
        .argParser(parse.oneOf('source', 'float32', 'float16', 'bfloat16'))
        .default('source'),
    )
    .option('--licence <text>', 'licence of the weights (default: unknown)')
    .option(
      '--tokenizer <files...>',
      "CLIP's tokenizer: tokenizer.json, bpe_simple_vocab_16e6.txt(.gz), or vocab.json and merges.txt",
    )
    .addOption(
      new Option('--activation <name>', "CLIP's activation, where the file does not tell").argParser(
        parse.oneOf('quickgelu', 'gelu'),
      ),
    )
    .option('--config <file>', "CLIP's configuration, where it is not beside the file")
    .action(async (kind: CheckpointKind | 'auto', file: string, flags: Flags) =>
      start('import', flags, (session) => importFile(session, kind, file, flags)),
    );
}

async function importFile(
  session: Session,
  kind: CheckpointKind | 'auto',
  given: string,
  flags: Flags,
): Promise<Outcome> {
  const out = await targetFile(flags.out ?? (kind === 'auto' ? 'imported.pt' : `${kind}.pt`), flags.force === true);
  const options: ImportCheckpointOptions = {
    out,
    kind,
    dtype: flags.dtype,
    licence: flags.licence,
    tokenizer: flags.tokenizer,
    activation: flags.activation,
    config: flags.config,
    ...session.run,
  };
  const made = await importCheckpoint(await session.input.file(given), options);
  for (const note of made.notes) session.output.note(note);
  for (const other of made.others) {
    session.output.note(`The file holds a ${other.kind} too (${other.format}): \`styleclip import ${other.kind}\`.`);
  }
  const { source, layers, parameters, dtype, bytes, sha256, ignored } = made;
  const size = made.description['image_size'];
  return {
    text: [
      `found     ${made.kind}, ${source.format} (${source.container}, ${count(source.bytes)} bytes)`,
      `sha256    ${source.sha256}`,
      `model     ${typeof size === 'number' ? `${size} px, ` : ''}${layers} layers, ${count(parameters)} parameters, ${dtype}`,
      ...(ignored.length === 0 ? [] : [`left out  ${shortList(ignored)}`]),
      `written   ${out} (${count(bytes)} bytes, sha256 ${sha256})`,
    ],
    result: {
      kind: made.kind,
      source: { format: source.format, container: source.container, bytes: source.bytes, sha256: source.sha256 },
      layers,
      parameters,
      dtype,
      file: out,
      bytes,
      sha256,
      ignored,
      notes: made.notes,
      others: made.others,
    },
  };
}

function count(n: number): string {
  return n.toLocaleString('en');
}

function shortList(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(', ');
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}
