/*
 * Hands a command's settings to the library, and the library's log lines to stderr.
 */
import { configure, type Logger } from '../configure.js';
import { StyleClipError } from '../errors.js';
import type { Session } from './session.js';

const LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
type Level = (typeof LEVELS)[number];

/** The lowest level that is shown: --verbose, else STYLECLIP_LOG, else warnings. */
function logLevel(verbose: boolean, env: NodeJS.ProcessEnv): Level {
  if (verbose) return 'debug';
  const wanted = env['STYLECLIP_LOG'];
  if (wanted === undefined) return 'warn';
  const level = LEVELS.find((name) => name === wanted);
  if (level !== undefined) return level;
  throw new StyleClipError('ARGUMENT', `STYLECLIP_LOG is "${wanted}"`, { remedy: `Use one of ${LEVELS.join(', ')}.` });
}

/** Sets device, threads and logger before anything native is loaded. */
export function applyLibrarySettings(session: Session): void {
  const { flags, output } = session;
  const lowest = LEVELS.indexOf(logLevel(flags.verbose === true, process.env));
  const shown = (level: Level): boolean => LEVELS.indexOf(level) >= lowest;
  const logger: Logger = {
    debug: (message) => shown('debug') && output.note(message),
    info: (message) => shown('info') && output.note(message),
    warn: (message) => shown('warn') && output.warn(message),
    error: (message) => shown('error') && output.warn(message),
  };
  configure({ device: flags.device, logger, ...(flags.threads === undefined ? {} : { threads: flags.threads }) });
}
