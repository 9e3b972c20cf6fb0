/*
 * Every command line in the documents against the command line itself: the command is there, and so are its options. Nothing
 * of them is run here; the README's examples are, in readme.test.ts.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { styleclip, temporaryFolder } from './helpers/cli.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
interface Line {
  readonly where: string;
  readonly command: string;
  /** The word after it. */
  readonly action: string;
  readonly flags: string[];
}

async function documents(): Promise<string[]> {
  const docs = (await readdir(join(ROOT, 'docs'))).filter((file) => file.endsWith('.md'));
  return ['README.md', 'models/README.md', 'models/cats/MODEL_CARD.md', ...docs.map((file) => `docs/${file}`)];
}

/** `--name`s outside of quotes. */
function flagsOf(text: string): string[] {
  return [...text.replaceAll(/"[^"]*"/g, '""').matchAll(/(?<=^|\s)--[a-z][a-z0-9-]*/g)].map(([flag]) => flag);
}

/** Lines that begin with the command, continued ones joined. Comments and what a pipe leads to are left out. */
function commandLines(file: string, text: string): Line[] {
  const lines = text.replaceAll(/\\\n\s*/g, ' ').split('\n');
  return lines.flatMap((line) => {
    const found = /^\s*(?:npx )?styleclip ([a-z].*)$/.exec(line);
    if (found === null) return [];
    const call = found[1]!.split(/ [#|>]/)[0]!;
    const [command = '', action = ''] = call.split(/\s+/);
    return [{ where: `${file}: ${line.trim()}`, command, action, flags: flagsOf(call) }];
  });
}

const folder = await temporaryFolder();
test.after.always(async () => folder.remove());

const helps = new Map<string, Promise<string>>();
async function help(command: string): Promise<string> {
  const known = helps.get(command) ?? helpOf(command);
  helps.set(command, known);
  return known;
}
async function helpOf(command: string): Promise<string> {
  const { code, stdout } = await styleclip([command, '--help'], { cwd: folder.path });
  return code === 0 && stdout.startsWith(`Usage: styleclip ${command} `) ? stdout : '';
}

test('every command line in the documents names a command, and options that it has', async (t) => {
  const lines: Line[] = [];
  for (const file of await documents()) lines.push(...commandLines(file, await readFile(join(ROOT, file), 'utf8')));
  t.true(lines.length >= 20, `${lines.length} lines found`);
  const wrong: string[] = [];
  for (const { where, command, action, flags } of lines) {
    const text = await help(command);
    const known = new Set(flagsOf(text.replaceAll(/[,[\]]/g, ' ')));
    if (text === '') wrong.push(`${where}: no command ${command}`);
    const actions = /choices: ((?:"[a-z]+"[,\s]*)+)\)/.exec(/Arguments:[^]*?Options:/.exec(text)?.[0] ?? '')?.[1];
    if (actions !== undefined && command !== 'sweep' && command !== 'make' && !actions.includes(`"${action}"`)) {
      wrong.push(`${where}: ${command} has no action ${action}`);
    }
    for (const flag of text === '' ? [] : flags) if (!known.has(flag)) wrong.push(`${where}: no option ${flag}`);
  }
  t.deepEqual(wrong, []);
  t.log(`${lines.length} lines, ${helps.size} commands`);
});

test("docs/cli.md: a command's section speaks of options that it has", async (t) => {
  const text = await readFile(join(ROOT, 'docs/cli.md'), 'utf8');
  const sections = text.split(/^## /m).slice(1);
  const wrong: string[] = [];
  let sectionsSeen = 0;
  for (const section of sections) {
    const title = section.slice(0, section.indexOf('\n'));
    const names = title.split(', ').map((name) => name.split(' ')[0]!);
    const texts = await Promise.all(names.map(help));
    if (texts.some((one) => one === '')) continue;
    sectionsSeen++;
    // Other commands are spoken of too: `edit --mapper`.
    const others = [...section.matchAll(/`([a-z]+) --/g)].map((found) => found[1]!);
    for (const other of others) texts.push(await help(other));
    const known = new Set(flagsOf(texts.join('\n').replaceAll(/[,[\]]/g, ' ')));
    for (const [, flag] of section.matchAll(/`(?:[a-z]+ )?(--[a-z][a-z0-9-]*)/g)) {
      if (!known.has(flag!)) wrong.push(`${title}: ${flag}`);
    }
  }
  t.deepEqual(wrong, []);
  t.true(sectionsSeen >= 12, `${sectionsSeen} sections are of commands`);
});
