/** What a directory of libtorch says of itself. */
export interface Libtorch {
  /** The directory with lib/ (and include/, when `headers`). */
  directory: string;
  /** As written in it, for example `2.13.0+cu130`. */
  version: string;
  /** `cpu`, `cu130`, … */
  variant: string;
  headers: boolean;
}

/** Why a directory is not a usable libtorch. */
export class NotLibtorch extends Error {
  constructor(code: 'LIBTORCH_NOT_FOUND' | 'LIBTORCH_VERSION', reason: string);
  readonly code: 'LIBTORCH_NOT_FOUND' | 'LIBTORCH_VERSION';
}

export function libtorchDirectory(place: string): string | undefined;
export function inspectLibtorch(place: string): Libtorch;

/** Absolute paths of the libraries to open, each after what it needs; `missing` are names found nowhere. */
export function librariesToOpen(directory: string, names?: string[]): { files: string[]; missing: string[] };
export function isSystemLibrary(name: string): boolean;
