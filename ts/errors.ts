/*
 * One error class for everything that goes wrong in this package.
 *
 * Programs branch on `code`, which is stable across minor releases; people read `message` (what
 * happened) and `remedy` (what to do about it); `cause` keeps the native or system text for a bug
 * report. Aborting is not a failure of the package: an aborted call rejects with `signal.reason`.
 */

/** What each code means. The prefix `ERR_STYLECLIP_` is part of the public code. */
export const ERROR_MEANINGS = {
  ARGUMENT: 'an argument has the wrong type or an unknown value',
  SHAPE: 'a tensor or picture has the wrong shape',
  PLATFORM: 'this platform or Node.js version is not supported',
  ALREADY_LOADED: 'another copy of this package is loaded in this process',
  TRUST: 'the archive holds foreign code and was not declared trusted',
  RANGE: 'a number is outside of its allowed range',
  FILE_NOT_FOUND: 'a file does not exist or cannot be read',
  FILE_EXISTS: 'a file to be written is there already, and overwriting was not asked for',
  FILE_DAMAGED: 'a file is truncated, corrupt, or not what its name says',
  FORMAT_UNKNOWN: "the file's format is not known",
  FORMAT_VERSION: 'the file was written in a format newer than this package reads',
  MODEL_KIND: 'the archive holds another kind of model',
  MODEL_MISMATCH: 'the data belongs to another model',
  LIBTORCH_NOT_FOUND: 'libtorch is not installed where this package looks',
  LIBTORCH_VERSION: 'the libtorch found is not the version this package was built with',
  ADDON_NOT_FOUND: "the package's native part is missing or cannot be opened",
  DEVICE: 'the device does not exist or cannot be used',
  OUT_OF_MEMORY: 'memory on the machine or the device ran out',
  CLOSED: 'the object was closed',
  EMPTY_SELECTION: 'no style channel passes the threshold',
  NOT_FINITE: 'a NaN or an infinity appeared in the data',
  RESUME_MISMATCH: 'the files to resume from belong to a run with other settings',
  DISK: 'writing failed: the disk is full, read-only, or the file is protected',
  INTERNAL: 'a bug in this package; the native text is in `cause`',
} as const;

/** The part of a code after its prefix. */
export type ErrorName = keyof typeof ERROR_MEANINGS;

/** A stable error code, for example `ERR_STYLECLIP_FILE_NOT_FOUND`. */
export type ErrorCode = `ERR_STYLECLIP_${ErrorName}`;

const PREFIX = 'ERR_STYLECLIP_';

/** What a {@link StyleClipError} carries besides its code and message. */
export interface StyleClipErrorOptions {
  /** What the reader can do about it: one or two sentences, often a command. */
  remedy: string;
  /** The native text or the system error underneath, if there is one. */
  cause?: unknown;
}

/** The one error class of this package. */
export class StyleClipError extends Error {
  override readonly name = 'StyleClipError';
  /** Stable across minor releases; branch on this. */
  readonly code: `ERR_STYLECLIP_${string}`;
  /** What to do about it. */
  readonly remedy: string;

  /**
   * @param name the code, with or without its `ERR_STYLECLIP_` prefix
   * @param message what happened, in one sentence
   */
  constructor(name: ErrorName | ErrorCode, message: string, options: StyleClipErrorOptions) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = name.startsWith(PREFIX) ? (name as ErrorCode) : `${PREFIX}${name}`;
    this.remedy = options.remedy;
  }

  /**
   * Whether `e` is an error of this package. Looks at the fields rather than the class, so that it
   * also recognises errors of the set-up scripts and of a second copy of the package.
   */
  static is(e: unknown): e is StyleClipError {
    return (
      e instanceof Error &&
      'code' in e &&
      typeof e.code === 'string' &&
      e.code.startsWith(PREFIX) &&
      'remedy' in e &&
      typeof e.remedy === 'string'
    );
  }

  /** `e` itself when it already is one of ours, else a new error around it. */
  static from(e: unknown, name: ErrorName | ErrorCode, message: string, remedy: string): StyleClipError {
    if (e instanceof StyleClipError) return e;
    if (StyleClipError.is(e)) {
      return new StyleClipError(e.code as ErrorCode, e.message, { remedy: e.remedy, cause: e });
    }
    return new StyleClipError(name, message, { remedy, cause: e });
  }
}
