/*
 * The smallest models that the command line can work on: a 16-pixel StyleGAN2 and a CLIP of one layer with a tokenizer
 * that knows single bytes only. Random weights; made through the command line itself.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { styleclip } from './cli.js';

/** tokenizer.json with CLIP's byte table and no merges: every byte is a token, in the middle or at the end of a word. */
export function byteTokenizer(): string {
  const printable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  const symbols = Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : next++));
  const vocab: Record<string, number> = {};
  for (const symbol of [...symbols, ...symbols.map((s) => `${s}</w>`), '<|startoftext|>', '<|endoftext|>']) {
    vocab[symbol] = Object.keys(vocab).length;
  }
  const specials = ['<|startoftext|>', '<|endoftext|>'].map((content) => ({
    id: vocab[content],
    content,
    special: true,
  }));
  const model = { type: 'BPE', end_of_word_suffix: '</w>', vocab, merges: [] };
  return JSON.stringify({ version: '1.0', added_tokens: specials, model });
}

/** A CLIP that looks at 32 pixels. */
const CLIP = {
  vision: 'vit',
  imageSize: 32,
  patch: 16,
  embedding: 16,
  visionWidth: 32,
  visionLayers: [1],
  visionHeads: 2,
  textWidth: 32,
  textLayers: 1,
  textHeads: 2,
  contextLength: 77,
  vocabulary: 514,
};

/** Files of the tiny models. */
export interface TinyModels {
  readonly generator: string;
  readonly clip: string;
  /** The flags that name them. */
  readonly flags: readonly string[];
}

/** Makes the models in `folder`. */
export async function makeTinyModels(folder: string): Promise<TinyModels> {
  await writeFile(join(folder, 'clip.json'), JSON.stringify(CLIP));
  await writeFile(join(folder, 'tokenizer.json'), byteTokenizer());
  const [generator, clip] = [join(folder, 'generator.pt'), join(folder, 'clip.pt')];
  const sizes = ['--size', '16', '--channels', '12,10,8', '--style-width', '16'];
  for (const args of [
    ['make', 'stylegan2', ...sizes, '--random', '--out', generator, '--licence', 'CC0-1.0'],
    ['make', 'clip', '--config', 'clip.json', '--tokenizer', 'tokenizer.json', '--seed', '3', '--out', clip],
  ]) {
    const made = await styleclip(args, { cwd: folder });
    assert.equal(made.code, 0, made.stderr);
  }
  return { generator, clip, flags: ['--generator', generator, '--clip', clip] };
}
