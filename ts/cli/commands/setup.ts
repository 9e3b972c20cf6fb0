/*
 * `styleclip setup`: fetches libtorch into the user's cache, after saying what that is, how large, and under which licence.
 */
import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { StyleClipError } from '../../errors.js';
import { runSetup, type SetupPlan } from '../../setup/setup.js';
import type { Outcome } from '../output.js';
import type { Session, Start } from '../session.js';
import type { CommonFlags } from '../settings.js';

interface Flags extends CommonFlags {
  torch?: string;
  cuda?: true;
  from?: string;
  yes?: true;
}

export function setupCommand(command: Command, start: Start): Command {
  return command
    .name('setup')
    .description('fetch libtorch through pip (about 0.5 GB; asks first)')
    .option('--torch <version>', 'version of torch, 2.11 to 2.15 (default: 2.13.0)')
    .option('--cuda', 'also what NVIDIA GPUs need, the CUDA compiler included')
    .option('--from <path>', 'a wheel, a libtorch archive, or a folder of wheels; nothing is downloaded then')
    .option('--yes', 'do not ask')
    .action(async (flags: Flags) => start('setup', flags, (session) => setup(session, flags)));
}

const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;

/** What would be fetched, as people read it. */
function planText(plan: SetupPlan): string {
  const wheels = plan.wheels.map(({ file, bytes, licence }) => {
    const size = bytes === undefined ? '' : `${megabytes(bytes)}, `;
    return `  ${file} (${size}${licence})`;
  });
  return [plan.title, ...wheels, `to ${plan.destination}`].join('\n');
}

/** Tells what would be fetched and asks; anything but yes is no. */
async function ask(session: Session, plan: SetupPlan, yes: boolean): Promise<boolean> {
  session.output.note(planText(plan));
  if (yes) return true;
  if (!process.stdin.isTTY || session.output.form !== 'text') {
    throw new StyleClipError('ARGUMENT', 'setup asks before it downloads, and there is no terminal to ask on', {
      remedy: 'Read the list above, then add --yes.',
    });
  }
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await prompt.question(`Download ${megabytes(plan.bytes)}? [y/N] `, { signal: session.signal });
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    prompt.close();
  }
}

async function setup(session: Session, flags: Flags): Promise<Outcome> {
  const { output, signal } = session;
  // Set-up's downloads are other processes; an abort leaves at once, and the next set-up cleans up behind it.
  const stopped = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  const done = runSetup({
    torch: flags.torch,
    cuda: flags.cuda,
    from: flags.from,
    confirm: async (plan) => ask(session, plan, flags.yes === true),
    onProgress: (progress) => output.report(progress),
    log: (line) => output.note(line),
  });
  const { libtorch } = await Promise.race([done, stopped]);
  return {
    text: [`libtorch ${libtorch.version} (${libtorch.variant}), ${megabytes(libtorch.bytes)}: ${libtorch.path}`],
    result: { libtorch },
  };
}
