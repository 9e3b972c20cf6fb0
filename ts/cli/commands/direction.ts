/*
 * `styleclip direction`: the style channels that a text asks for, without rendering anything.
 */
import type { Command } from 'commander';
import { textTable } from '../../report/table.js';
import { loadSystem } from '../models.js';
import type { Outcome } from '../output.js';
import type { Session, Start } from '../session.js';
import { targetFile } from '../target.js';
import { addDirectionOptions, directionSummary, findDirection, type DirectionFlags } from './direction-options.js';

/** Rows of the table on a terminal; `--json` has all of them. */
const ROWS = 20;

export function directionCommand(command: Command, start: Start): Command {
  command.name('direction').description('show which style channels a text direction moves; --out keeps it as a file');
  return addDirectionOptions(command).action(async (flags: DirectionFlags) =>
    start('direction', flags, (session) => direction(session, flags)),
  );
}

async function direction(session: Session, flags: DirectionFlags): Promise<Outcome> {
  const file = flags.out === undefined ? undefined : await targetFile(flags.out, flags.force === true);
  await using system = await loadSystem(session);
  const found = await findDirection(session, flags, system);
  if (file !== undefined) await found.save(file);
  const rows = found.top(ROWS).map(({ name, relevance, delta }) => [name, relevance, delta]);
  const more = found.channels - rows.length;
  const text = [textTable({ columns: ['channel', 'relevance', 'delta'], rows })];
  if (more > 0) text.push(`and ${more} more; all of them with --json`);
  if (file !== undefined) text.push(file);
  return { text, result: { ...directionSummary(found), ...(file === undefined ? {} : { file }) } };
}
