/*
 * The main job writes into a folder that may hold other files: it replaces its own, removes those that it no longer makes,
 * and touches nothing else.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { temporaryFolder } from './helpers/cli.js';

interface OwnFilesClass {
  open(
    folder: string,
    names: readonly string[],
  ): Promise<{ add(name: string, content: string): void; commit(): Promise<void> }>;
}

const { OwnFiles } = (await import(new URL('../examples/lib/own-files.mjs', import.meta.url).href)) as {
  OwnFiles: OwnFilesClass;
};

async function write(folder: string, files: Record<string, string>): Promise<void> {
  const own = await OwnFiles.open(folder, Object.keys(files));
  for (const [name, content] of Object.entries(files)) own.add(name, content);
  await own.commit();
}

test('a second run replaces its own files, removes old ones, and leaves the others', async (t) => {
  const { path, remove } = await temporaryFolder();
  t.teardown(remove);
  const out = join(path, 'out');
  await mkdir(out);
  await writeFile(join(out, 'mine.txt'), 'mine');
  await write(out, { 'index.html': 'one', 'a.png': 'a' });
  await write(out, { 'index.html': 'two', 'b.png': 'b' });
  const names = (await readdir(out)).filter((name) => !name.startsWith('.'));
  t.deepEqual(names.toSorted(), ['b.png', 'index.html', 'mine.txt']);
  t.is(await readFile(join(out, 'index.html'), 'utf8'), 'two');
  t.is(await readFile(join(out, 'mine.txt'), 'utf8'), 'mine');
});

test('a file of somebody else is not replaced', async (t) => {
  const { path, remove } = await temporaryFolder();
  t.teardown(remove);
  await writeFile(join(path, 'index.html'), 'mine');
  const error = await t.throwsAsync(async () => write(path, { 'index.html': 'one' }));
  t.regex(error.message, /index\.html was not written by this job/);
  t.is(await readFile(join(path, 'index.html'), 'utf8'), 'mine');
});

test('a manifest cannot name files of other folders', async (t) => {
  const { path, remove } = await temporaryFolder();
  t.teardown(remove);
  const out = join(path, 'out');
  await write(out, { 'index.html': 'one' });
  const manifest = (await readdir(out)).find((name) => name.endsWith('.json'));
  await writeFile(join(path, 'outside.txt'), 'mine');
  await writeFile(join(out, manifest ?? ''), JSON.stringify({ files: ['../outside.txt', 'index.html'] }));
  await write(out, { 'index.html': 'two' });
  t.is(await readFile(join(path, 'outside.txt'), 'utf8'), 'mine');
});
