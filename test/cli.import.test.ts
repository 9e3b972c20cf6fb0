/*
 * `styleclip import`, `info` of checkpoints, and `edit --mapper`: from a published form of checkpoint to an edited picture
 * on the command line.
 */
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import sharp from 'sharp';
import { styleclip, temporaryFolder, type Ended } from './helpers/cli.js';

const DATA = fileURLToPath(new URL('../test/data/import/', import.meta.url));
const HOSTILE = fileURLToPath(new URL('../test/data/checkpoints/hostile-exec.pkl', import.meta.url));

let folder: { path: string; remove: () => Promise<void> };
test.before(async () => {
  folder = await temporaryFolder();
});
test.after.always(async () => folder.remove());

const run = async (...args: readonly string[]): Promise<Ended> => styleclip(args, { cwd: folder.path });

async function result(...args: string[]): Promise<Record<string, unknown>> {
  const ended = await run(...args, '--json');
  if (ended.code !== 0) throw new Error(`${args.join(' ')}: exit ${ended.code}\n${ended.stdout}${ended.stderr}`);
  return (JSON.parse(ended.stdout) as { result: Record<string, unknown> }).result;
}

test.serial('import: what was found and what was written, as text and as JSON', async (t) => {
  const file = join(DATA, 'rosinality.pt');
  const text = await run('import', 'auto', file, '--out', 'text.pt', '--licence', 'CC0-1.0');
  t.is(text.code, 0, text.stderr);
  for (const line of [
    /found +generator, rosinality \(torch zip/,
    /sha256 +[0-9a-f]{64}/,
    /model +16 px, 8 layers, [\d,]+ parameters, float32/,
  ]) {
    t.regex(text.stdout, line);
  }
  t.regex(text.stderr, /learning-rate multiplier/, 'what was assumed is said');
  const made = await result('import', 'generator', file, '--out', 'json.pt');
  for (const key of ['kind', 'source', 'layers', 'parameters', 'file', 'ignored']) t.true(key in made, key);
  t.is((made['source'] as { format: string }).format, 'rosinality');
  t.is(made['bytes'], (await stat(join(folder.path, 'json.pt'))).size);
  t.is((await result('info', 'json.pt'))['sha256'], made['sha256']);
  t.is((await run('import', 'generator', file, '--out', 'json.pt')).code, 3, 'there already');
  t.is((await result('import', 'generator', file, '--out', 'json.pt', '--force'))['sha256'], made['sha256']);
});

test.serial('import: exit codes', async (t) => {
  const before = await readdir(folder.path);
  await writeFile(join(folder.path, 'damaged.pt'), 'no checkpoint');
  t.is((await run('import', 'gan', join(DATA, 'mapper.pt'), '--out', 'x.pt')).code, 2);
  t.is((await run('import', 'auto', 'missing.pt', '--out', 'x.pt')).code, 3);
  t.is((await run('import', 'auto', 'damaged.pt', '--out', 'x.pt')).code, 3);
  const hostile = await run('import', 'auto', HOSTILE, '--out', 'x.pt', '--json');
  t.is(hostile.code, 3);
  t.is((JSON.parse(hostile.stdout) as { error: { code: string } }).error.code, 'ERR_STYLECLIP_FORMAT_UNKNOWN');
  const kind = await run('import', 'clip', join(DATA, 'mapper.pt'), '--out', 'x.pt');
  t.is(kind.code, 3);
  t.regex(kind.stderr, /MODEL_KIND/);
  t.deepEqual((await readdir(folder.path)).sort(), [...before, 'damaged.pt'].sort());
});

test.serial('info of a checkpoint names the command that imports it', async (t) => {
  const file = join(DATA, 'mapper-single.pt');
  const text = await run('info', file);
  t.is(text.code, 0, text.stderr);
  t.regex(text.stdout, /styleclip import mapper .*mapper-single\.pt/);
  const found = await result('info', file);
  t.deepEqual(
    (found['parts'] as { kind: string }[]).map((p) => p.kind),
    ['mapper', 'generator'],
  );
});

test.serial('edit --mapper: a published mapper edits pictures of the generator in its file', async (t) => {
  const file = join(DATA, 'mapper-single.pt');
  await result('import', 'mapper', file, '--out', 'mapper.pt');
  await result('import', 'generator', file, '--out', 'generator.pt');
  const edit = ['edit', '--generator', 'generator.pt', '--mapper', 'mapper.pt', '--count', '2'];
  const edited = await result(...edit, '--strength', '0,50', '--out', 'edited');
  const images = edited['images'] as { latent: number; alpha: number; file: string }[];
  t.deepEqual(
    images.map(({ latent, alpha }) => [latent, alpha]),
    [
      [0, 0],
      [0, 50],
      [1, 0],
      [1, 50],
    ],
  );
  t.deepEqual((edited['mapper'] as { levels: string[] }).levels, ['all']);
  const pixels = async (i: number): Promise<Buffer> => sharp(join(folder.path, images[i]!.file)).raw().toBuffer();
  t.notDeepEqual(await pixels(1), await pixels(0), 'the mapper moves the picture');
  await result('generate', '--generator', 'generator.pt', '--count', '2', '--out', 'plain');
  const plain = (await readdir(join(folder.path, 'plain'))).filter((name) => name.endsWith('.png')).sort();
  const first = await sharp(join(folder.path, 'plain', plain[0]!))
    .raw()
    .toBuffer();
  t.deepEqual(await pixels(0), first, 'strength 0 changes nothing');
  const sheet = await result(...edit, '--grid', '--out', 'sheet.png');
  t.is((sheet['images'] as unknown[]).length, 1);
  t.is((await run(...edit, '--target', 'a cat', '--out', 'y')).code, 2);
  t.is((await run('edit', '--generator', 'generator.pt', '--out', 'y')).code, 2, 'neither texts nor a mapper');
});
