/*
 * `styleclip run FILE METHOD`: runs any method of any archive on tensors from files, for checks, pipes and other tools.
 */
import { basename, extname } from 'node:path';
import { Option, type Command } from 'commander';
import { Module, type Tensor } from '../../archive.js';
import { StyleClipError } from '../../errors.js';
import { readNpy, writeNpy } from '../../files/npy.js';
import { readNpz } from '../../files/npz.js';
import { readSafetensors, safetensorsFloat32, safetensorsInt32, writeSafetensors } from '../../files/safetensors.js';
import { modelOptions } from '../models.js';
import type { Outcome } from '../output.js';
import * as parse from '../parse.js';
import type { Session, Start } from '../session.js';
import type { CommonFlags } from '../settings.js';
import { targetFile } from '../target.js';

interface Flags extends CommonFlags {
  in?: string[];
  dtype: 'float32' | 'float16' | 'bfloat16';
}

interface Named {
  readonly name: string;
  readonly tensor: Tensor;
}

export function runCommand(command: Command, start: Start): Command {
  return command
    .name('run')
    .description('run a method of an archive on tensors from files')
    .argument('<file>', 'archive')
    .argument('<method>', 'synthesis, mapping, styles, encode_image, encode_text, embed, encode, or a module’s own')
    .option(
      '--in <file...>',
      'tensors (.npy, .npz, .safetensors), in the order of the arguments; - reads standard input',
    )
    .addOption(
      new Option('--dtype <type>', 'number type to compute in')
        .argParser(parse.oneOf('float32', 'float16', 'bfloat16'))
        .default('float32'),
    )
    .action(async (file: string, method: string, flags: Flags) =>
      start('run', flags, (session) => run(session, file, method, flags)),
    );
}

/** The tensors of a file, in its order; a .npy file's is named after the file. */
async function readTensors(file: string): Promise<Named[]> {
  switch (extname(file).toLowerCase()) {
    case '.npy':
      return [{ name: basename(file, '.npy'), tensor: await readNpy(file) }];
    case '.npz':
      return [...(await readNpz(file))].map(([name, tensor]) => ({ name, tensor }));
    case '.safetensors':
      return [...(await readSafetensors(file)).tensors].map(([name, tensor]) => ({
        name,
        tensor: { data: safetensorsInt32(tensor) ?? safetensorsFloat32(tensor), shape: tensor.shape },
      }));
    default:
      throw new StyleClipError('FORMAT_UNKNOWN', `${file} is neither .npy nor .npz nor .safetensors`, {
        remedy: 'Convert it to one of these.',
      });
  }
}

/** Where the results go: all of them as .safetensors, a single one as .npy too. */
async function writeTensors(file: string, outputs: readonly Named[]): Promise<void> {
  const single = outputs[0];
  if (extname(file).toLowerCase() !== '.npy') {
    return writeSafetensors(file, Object.fromEntries(outputs.map(({ name, tensor }) => [name, tensor])), {});
  }
  if (single === undefined || outputs.length > 1) {
    throw new StyleClipError('SHAPE', `${file} holds one tensor, and the method gave ${outputs.length}`, {
      remedy: 'Name the output .safetensors.',
    });
  }
  return writeNpy(file, single.tensor.data, single.tensor.shape);
}

const shapes = (tensors: readonly Named[]): { name: string; shape: readonly number[] }[] =>
  tensors.map(({ name, tensor }) => ({ name, shape: tensor.shape }));

const lines = (label: string, tensors: readonly Named[]): string[] =>
  tensors.map(({ name, tensor }) => `${label} ${name} [${tensor.shape.join(', ')}]`);

async function run(session: Session, archive: string, method: string, flags: Flags): Promise<Outcome> {
  const out = flags.out;
  if (out !== undefined && !/\.(npy|safetensors)$/i.test(out)) {
    throw new StyleClipError('ARGUMENT', `${out}: results are written as .safetensors or .npy`, {
      remedy: 'Name it so.',
    });
  }
  const target = out === undefined ? undefined : await targetFile(out, flags.force === true);
  const inputs: Named[] = [];
  for (const path of flags.in ?? []) inputs.push(...(await readTensors(await session.input.file(path))));
  await using module = await Module.load(archive, modelOptions(session, flags.dtype));
  const results = await module.run(
    method,
    inputs.map(({ tensor }) => tensor),
    session.run,
  );
  const outputs = results.map((tensor, i) => ({ name: `output${i}`, tensor }));
  if (target !== undefined) await writeTensors(target, outputs);
  return {
    text: [...lines('in ', inputs), ...lines('out', outputs), ...(target === undefined ? [] : [target])],
    result: {
      file: archive,
      method,
      inputs: shapes(inputs),
      outputs: shapes(outputs),
      ...(target === undefined ? {} : { out: target }),
    },
  };
}
