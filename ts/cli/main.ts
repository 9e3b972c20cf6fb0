#!/usr/bin/env node
/*
 * The command line `styleclip`. This file starts a command, watches for Ctrl-C, prints what comes back and chooses the
 * exit code; what the commands do is in `commands/`, one file each.
 */
import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import { directionCommand } from './commands/direction.js';
import { doctorCommand } from './commands/doctor.js';
import { editCommand } from './commands/edit.js';
import { encoderCommand } from './commands/encoder.js';
import { generateCommand } from './commands/generate.js';
import { importCommand } from './commands/import.js';
import { infoCommand } from './commands/info.js';
import { invertCommand } from './commands/invert.js';
import { makeCommand } from './commands/make.js';
import { mapperCommand } from './commands/mapper.js';
import { optimizeCommand } from './commands/optimize.js';
import { runCommand } from './commands/run.js';
import { setupCommand } from './commands/setup.js';
import { statsCommand } from './commands/stats.js';
import { sweepCommand } from './commands/sweep.js';
import { applyLibrarySettings } from './configure.js';
import { EXIT, exitCodeOf, Interrupted } from './exit.js';
import { Output, type OutputForm } from './output.js';
import { Session, type Start } from './session.js';
import { addCommonOptions, applyConfig, dropEmptyVariables, exportSettings, readConfig } from './settings.js';

/** Options that shape the output, looked for before anything is parsed, so that usage errors obey them too. */
function outputForm(argv: readonly string[]): { form: OutputForm; quiet: boolean; verbose: boolean } {
  const end = argv.indexOf('--');
  const flags = end < 0 ? argv : argv.slice(0, end);
  const form = flags.includes('--json') ? 'json' : flags.includes('--json-lines') ? 'json-lines' : 'text';
  return { form, quiet: flags.includes('--quiet'), verbose: flags.includes('--verbose') };
}

/** Aborts when the process is asked to stop; asked twice, it leaves at once. */
function watchSignals(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      const reason = new Interrupted(name);
      if (controller.signal.aborted) process.exit(exitCodeOf(reason));
      controller.abort(reason);
    });
  }
  return controller.signal;
}

const COMMANDS = [
  setupCommand,
  doctorCommand,
  makeCommand,
  importCommand,
  infoCommand,
  runCommand,
  generateCommand,
  statsCommand,
  sweepCommand,
  directionCommand,
  editCommand,
  optimizeCommand,
  invertCommand,
  encoderCommand,
  mapperCommand,
];

/** Parses and runs; resolves to the exit code, whatever happens. */
async function main(argv: readonly string[]): Promise<number> {
  const signal = watchSignals();
  const { form, quiet, verbose } = outputForm(argv);
  const manifest = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  const output = new Output({ form, quiet, verbose, version: manifest.version });
  let exitCode: number = EXIT.done;
  try {
    dropEmptyVariables(process.env);
    const config = await readConfig(process.cwd());
    const program = new Command('styleclip')
      .description('Edits pictures by text: StyleCLIP on StyleGAN2 and CLIP.')
      .version(manifest.version, '--version', 'print the version')
      .configureOutput({ writeErr: (text) => form === 'text' && process.stderr.write(text), outputError: () => {} })
      .exitOverride();
    for (const make of COMMANDS) {
      const command = program.createCommand();
      const start: Start = async (name, flags, work) => {
        await using session = new Session(flags, exportSettings(command, config, process.env), output, signal);
        applyLibrarySettings(session);
        const outcome = await work(session);
        output.outcome(name, outcome);
        if ('failure' in outcome) exitCode = exitCodeOf(outcome.failure);
      };
      addCommonOptions(make(command, start))
        .copyInheritedSettings(program)
        .version(manifest.version, '--version', 'print the version');
      applyConfig(command, config);
      program.addCommand(command);
    }
    await program.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    const code = exitCodeOf(error);
    if (code !== EXIT.done) output.failure(error);
    return code;
  }
}

// A reader that closes the pipe (`| head`) has what it wanted.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT.done);
  throw error;
});

process.exitCode = await main(process.argv.slice(2));
// Whoever asked for an end does not wait for work that cannot be stopped.
if (process.exitCode === EXIT.interrupted || process.exitCode === EXIT.terminated) process.exit();
