/*
 * Runs the programs that set-up is made of. Everything a program prints goes to a log file; the caller sees each line, and
 * when the program fails, its last lines are part of the error.
 */
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';

const TAIL_LINES = 60;

/** A program that ended with another status than 0. */
export class ProcessError extends Error {
  /**
   * @param {string} command
   * @param {string} how it ended
   * @param {string[]} tail its last lines
   * @param {string} log
   */
  constructor(command, how, tail, log) {
    super(`${command} ${how}. Its last lines (all of them: ${log}):\n${tail.map((line) => `    ${line}`).join('\n')}`);
    this.name = 'ProcessError';
  }
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {object} options
 * @param {string} options.cwd
 * @param {string} options.log file that gets everything printed
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {(line: string) => void} [options.onLine]
 * @param {boolean} [options.mayFail] resolve with the status whatever it is; -1 for one that a signal ended
 * @returns {Promise<number>}
 */
export async function run(command, args, options) {
  await mkdir(dirname(options.log), { recursive: true });
  const log = createWriteStream(options.log);
  /** @type {string[]} */
  const tail = [];
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }).on('line', (line) => {
      log.write(`${line}\n`);
      tail.push(line);
      if (tail.length > TAIL_LINES) tail.shift();
      options.onLine?.(line);
    });
  }
  /** @type {{ status?: number, how: string }} */
  const { status, how } = await new Promise((done) => {
    child.on('error', (error) => done({ how: `could not be started: ${error.message}` }));
    child.on('close', (code, signal) => {
      if (signal) done({ status: -1, how: `was ended by ${signal}` });
      else done({ status: code ?? 0, how: `ended with status ${code}` });
    });
  });
  await new Promise((done) => log.end(done));
  if (status === 0 || (options.mayFail && status !== undefined)) return status;
  const shown = [command.split('/').at(-1), ...args.slice(0, 2).map((a) => a.split('/').at(-1))].join(' ');
  throw new ProcessError(shown, how, tail, options.log);
}

/**
 * First line that a program prints, or undefined when it cannot be run.
 * @param {string} command
 * @param {string[]} args
 * @returns {Promise<string | undefined>}
 */
export function firstLine(command, args) {
  return new Promise((done) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => (text += chunk));
    child.on('error', () => done(undefined));
    child.on('close', (status) => done(status === 0 ? text.split('\n')[0] : undefined));
  });
}
