/*
 * `styleclip doctor`: what this machine has, what is missing, and where every setting came from.
 */
import type { Command } from 'commander';
import { StyleClipError } from '../../errors.js';
import { runDoctor } from '../../setup/doctor.js';
import type { Outcome } from '../output.js';
import type { Session, Start } from '../session.js';
import type { CommonFlags } from '../settings.js';

interface Flags extends CommonFlags {
  load?: true;
}

export function doctorCommand(command: Command, start: Start): Command {
  return command
    .name('doctor')
    .description('check what has to be there, and say which setting won')
    .option('--load', 'also run a small model, in a process of its own')
    .action(async (flags: Flags) => start('doctor', flags, (session) => doctor(session, flags)));
}

async function doctor(session: Session, flags: Flags): Promise<Outcome> {
  const { output } = session;
  const settings = session.settings.filter(({ value }) => value !== '');
  const report = await runDoctor({ load: flags.load, settings });
  const text = report.checks.flatMap(({ name, ok, value, remedy }) => {
    const mark = ok ? output.paintResult('green', 'ok  ') : output.paintResult('red', 'FAIL');
    const line = `${mark}  ${name.padEnd(20)}  ${value}`;
    return ok || remedy === undefined ? [line] : [line, `      ${''.padEnd(20)}  ${remedy}`];
  });
  const result = { ...report, settings: session.settings };
  const failed = report.checks.find(({ ok }) => !ok);
  if (failed === undefined) return { text, result };
  return { text, result, failure: failureOf(failed) };
}

/** The error that stands for a failed check: its code says which part of the environment is missing. */
function failureOf(check: { name: string; value: string; remedy?: string }): StyleClipError {
  const code = check.name.startsWith('libtorch')
    ? 'LIBTORCH_NOT_FOUND'
    : check.name === 'platform'
      ? 'PLATFORM'
      : 'ADDON_NOT_FOUND';
  return new StyleClipError(code, `${check.name}: ${check.value}`, { remedy: check.remedy ?? 'See the report.' });
}
