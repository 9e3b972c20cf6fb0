/*
 * Errors of the set-up scripts. They run before TypeScript is built, so they cannot use the package's StyleClipError;
 * theirs carries the same fields and is recognised by `StyleClipError.is`.
 */

/** A failure with a stable code and a remedy. */
export class SetupError extends Error {
  /**
   * @param {string} name the code without its `ERR_STYLECLIP_` prefix
   * @param {string} message what happened, in one sentence
   * @param {string} remedy what to do about it
   * @param {unknown} [cause] the failure underneath
   */
  constructor(name, message, remedy, cause) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'StyleClipError';
    this.code = `ERR_STYLECLIP_${name}`;
    this.remedy = remedy;
  }
}

const DISK_CODES = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'EFBIG']);

/**
 * Turns a failed write into a DISK error; anything else passes through unchanged.
 * @param {unknown} error
 * @param {string} what what was being written
 * @returns {unknown}
 */
export function asDiskError(error, what) {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (!DISK_CODES.has(code)) return error;
  return new SetupError(
    'DISK',
    `Cannot write ${what}: ${/** @type {Error} */ (error).message}.`,
    'Free some space or choose another directory with STYLECLIP_CACHE, then run the command again.',
    error,
  );
}

/**
 * The command a reader of an error message should run to get libtorch.
 * @returns {string}
 */
export function setupCommand() {
  return 'npx styleclip setup';
}
