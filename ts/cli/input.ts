/*
 * Files that a command reads. `-` means standard input: it is written to a temporary file first, named after what its
 * first bytes say it is, so that everything that reads files reads pipes too.
 */
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addAbortSignal } from 'node:stream';
import { StyleClipError } from '../errors.js';

/** Suffix of the format that the first bytes of a file show; '' when none is known. */
export function sniffSuffix(bytes: Uint8Array): string {
  const starts = (...signature: number[]): boolean => signature.every((byte, i) => bytes[i] === byte);
  const text = (from: number, to: number): string => String.fromCharCode(...bytes.subarray(from, to));
  if (text(0, 6) === '\u0093NUMPY') return '.npy';
  if (starts(0x89, 0x50, 0x4e, 0x47)) return '.png';
  if (starts(0xff, 0xd8, 0xff)) return '.jpg';
  if (text(0, 4) === 'RIFF' && text(8, 12) === 'WEBP') return '.webp';
  if (text(0, 4) === 'GIF8') return '.gif';
  // A safetensors file starts with the length of its header (little-endian uint64), then the header, a JSON object.
  if (bytes[8] === 0x7b && bytes[6] === 0 && bytes[7] === 0) return '.safetensors';
  // npz and TorchScript archives are both zip files; an npz holds names that end in .npy.
  if (starts(0x50, 0x4b, 0x03, 0x04)) return text(0, Math.min(bytes.length, 256)).includes('.npy') ? '.npz' : '.pt';
  return '';
}

/** The files that one command reads. */
export class InputFiles {
  readonly #signal: AbortSignal;
  #folder: string | undefined;
  #stdinFile: Promise<string> | undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /**
   * The path of an input file, after a look whether it is there.
   *
   * @param path what the user typed; `-` is standard input, read once
   */
  async file(path: string): Promise<string> {
    if (path === '-') {
      this.#stdinFile ??= this.#spool();
      return this.#stdinFile;
    }
    try {
      const found = await stat(path);
      if (found.isDirectory()) {
        throw new StyleClipError('FILE_NOT_FOUND', `${path} is a folder, not a file`, { remedy: 'Name a file.' });
      }
      return path;
    } catch (cause) {
      if (StyleClipError.is(cause)) throw cause;
      throw new StyleClipError('FILE_NOT_FOUND', `${path} cannot be read`, { remedy: 'Check the path.', cause });
    }
  }

  /** Removes the copy of standard input. */
  async remove(): Promise<void> {
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true, force: true });
    this.#folder = undefined;
  }

  async #spool(): Promise<string> {
    const chunks: Buffer[] = [];
    addAbortSignal(this.#signal, process.stdin);
    try {
      for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk as Uint8Array));
    } catch (cause) {
      this.#signal.throwIfAborted();
      throw new StyleClipError('FILE_NOT_FOUND', 'standard input cannot be read', { remedy: 'Name a file.', cause });
    }
    const bytes = Buffer.concat(chunks);
    if (bytes.length === 0) {
      throw new StyleClipError('FILE_DAMAGED', 'standard input is empty', { remedy: 'Pipe a file into the command.' });
    }
    this.#folder = await mkdtemp(join(tmpdir(), 'styleclip-'));
    const file = join(this.#folder, `stdin${sniffSuffix(bytes)}`);
    await writeFile(file, bytes);
    return file;
  }
}
