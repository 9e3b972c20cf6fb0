/*
 * The examples of the README are run as they stand there: the TypeScript is compiled and run, the shell lines are run, both
 * against the built package, installed in a folder of their own.
 */
import { execFile } from 'node:child_process';
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import sharp from 'sharp';
import { Latents } from '../dist/index.js';
import { temporaryFolder } from './helpers/cli.js';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TSC = join(createRequire(import.meta.url).resolve('typescript/package.json'), '..', 'bin', 'tsc');

let folder: { path: string; remove: () => Promise<void> };

/** The first code block of a language. */
async function example(language: string, after: string): Promise<string> {
  const text = await readFile(join(ROOT, 'README.md'), 'utf8');
  const found = new RegExp(`^## ${after}$[\\s\\S]*?^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'm').exec(text);
  if (found === null) throw new Error(`no ${language} example below "${after}"`);
  return found[1]!;
}

test.before(async () => {
  folder = await temporaryFolder();
  const bin = join(folder.path, 'node_modules', '.bin');
  await mkdir(bin, { recursive: true });
  await symlink(ROOT, join(folder.path, 'node_modules', 'styleclip'), 'dir');
  await writeFile(
    join(bin, 'styleclip'),
    `#!/bin/sh\nexec '${process.execPath}' '${join(ROOT, 'dist/cli/main.js')}' "$@"\n`,
  );
  await chmod(join(bin, 'styleclip'), 0o755);
  await writeFile(join(folder.path, 'package.json'), '{"type":"module","private":true}');
});

test.after.always(async () => folder.remove());

test('the TypeScript of the README compiles and edits cats', async (t) => {
  const options = {
    module: 'NodeNext',
    target: 'ES2023',
    lib: ['ES2023', 'ESNext.Disposable'],
    strict: true,
    types: ['node'],
    typeRoots: [join(ROOT, 'node_modules/@types')],
  };
  await writeFile(join(folder.path, 'example.ts'), await example('ts', 'In TypeScript'));
  await writeFile(
    join(folder.path, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: options, files: ['example.ts'] }),
  );
  await run(process.execPath, [TSC, '-p', folder.path]);
  const { stdout } = await run(process.execPath, ['example.js'], { cwd: folder.path });
  t.regex(stdout, /relevance/, 'the table of channels is printed');
  const sheet = await sharp(join(folder.path, 'glasses.png')).metadata();
  t.is(sheet.format, 'png');
  t.true((sheet.width ?? 0) > 3 * 64 && (sheet.height ?? 0) > 4 * 64, 'four cats at three strengths');
});

test('the shell lines of the README run', async (t) => {
  const shell = join(folder.path, 'shell');
  await mkdir(shell);
  await symlink('../node_modules', join(shell, 'node_modules'));
  await writeFile(join(shell, 'package.json'), '{"private":true}');
  const lines = await example('sh', 'In the shell');
  const { stdout } = await run('sh', ['-e', '-c', lines], { cwd: shell });
  t.false(/^FAIL/m.test(stdout), stdout);
  const json = JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as {
    ok: boolean;
    result: { images: { latent: number; alpha: number; file: string }[] };
  };
  t.true(json.ok);
  t.deepEqual(
    json.result.images.map(({ latent, alpha }) => [latent, alpha]),
    [
      [0, 4],
      [1, 4],
    ],
  );
  for (const file of ['glasses.png', ...json.result.images.map((image) => image.file)]) {
    t.is((await sharp(join(shell, file)).metadata()).format, 'png');
  }
  await run('sh', ['-e', '-c', await example('sh', "Two more ways to edit, and a picture of one's own")], {
    cwd: shell,
  });
  for (const file of ['mine/latents.safetensors', 'grumpy/latents.safetensors', 'mapped/latents.safetensors']) {
    t.deepEqual((await Latents.load(join(shell, file))).shape.slice(0, 1), [1], file);
  }
});

test('docs/errors.md has a line for every code, with its meaning and its exit code', async (t) => {
  const { ERROR_MEANINGS, StyleClipError } = await import('styleclip');
  const { exitCodeOf } = await import('../dist/cli/exit.js');
  const text = await readFile(join(ROOT, 'docs/errors.md'), 'utf8');
  const lines = [...text.matchAll(/^\| `([A-Z_]+)` \| (.*) \| (\d) \|$/gm)];
  t.deepEqual(lines.map((line) => line[1]!).toSorted(), Object.keys(ERROR_MEANINGS).toSorted());
  for (const [, name, meaning, exit] of lines) {
    const code = name as keyof typeof ERROR_MEANINGS;
    t.true(meaning!.startsWith(ERROR_MEANINGS[code].split(';')[0]!), `${code}: ${meaning}`);
    t.is(Number(exit), exitCodeOf(new StyleClipError(code, 'x', { remedy: 'y' })), code);
  }
});
