/*
 * The command line as its callers see it, as far as no model is needed: help, wrong usage, bad input, precedence.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { styleclip, temporaryFolder, type Ended } from './helpers/cli.js';

const COMMANDS = ['setup', 'doctor', 'make', 'info', 'run', 'generate', 'stats', 'sweep', 'direction', 'edit'];
const DIRECTION = ['--target', 'a cute cat', '--neutral', 'a cat'];

const test = anyTest as TestFn<{
  cwd: string;
  run: (...args: string[]) => Promise<Ended>;
  remove: () => Promise<void>;
}>;

test.beforeEach(async (t) => {
  const folder = await temporaryFolder();
  t.context = {
    cwd: folder.path,
    remove: folder.remove,
    run: async (...args) => styleclip(args, { cwd: folder.path }),
  };
});

test.afterEach.always(async (t) => t.context.remove());

/** What --json prints: exactly one object on one line, nothing else. */
function only(ended: Ended): Record<string, unknown> {
  const lines = ended.stdout.split('\n');
  if (lines.length !== 2 || lines[1] !== '') throw new Error(`not one line: ${JSON.stringify(ended.stdout)}`);
  return JSON.parse(lines[0]!) as Record<string, unknown>;
}

test('help lists every command, and every command has help', async (t) => {
  const all = await t.context.run('--help');
  t.is(all.code, 0);
  t.is(all.stderr, '');
  for (const name of COMMANDS) {
    t.regex(all.stdout, new RegExp(`^  ${name}\\b`, 'm'));
    const help = await t.context.run(name, '--help');
    t.is(help.code, 0, name);
    for (const flag of [
      '--device',
      '--threads',
      '--json',
      '--quiet',
      '--verbose',
      '--seed',
      '--out',
      '--model',
      '--force',
    ]) {
      t.true(help.stdout.includes(`${flag} `) || help.stdout.includes(`${flag}\n`), `${name} ${flag}`);
    }
  }
});

test('the version is the package’s', async (t) => {
  const { default: manifest } = (await import('styleclip/package.json', { with: { type: 'json' } })) as {
    default: { version: string };
  };
  for (const args of [['--version'], ['sweep', '--version']]) {
    const ended = await t.context.run(...args);
    t.is(ended.stdout, `${manifest.version}\n`);
    t.is(ended.code, 0);
  }
});

const WRONG: Record<string, string[]> = {
  'no command': [],
  'unknown command': ['swep'],
  'unknown option': ['sweep', '--image', '3'],
  'a number that is none': ['sweep', '--images', 'many'],
  'a number out of range': ['generate', '--count', '0'],
  'a list with a gap': ['edit', ...DIRECTION, '--alpha', '1,,2'],
  'an unknown word': ['sweep', '--perturb', 'sideways'],
  'an unknown kind': ['make', 'vgg'],
  'an unknown device': ['generate', '--device', 'gpu'],
  'a required option left out': ['edit', '--neutral', 'a cat'],
  'beta and channels': ['direction', ...DIRECTION, '--beta', '0.1', '--channels', '5'],
  'too many arguments': ['info', 'a', 'b'],
  'several pictures in one file': ['edit', ...DIRECTION, '--alpha', '1,2', '--out', 'x.png'],
  'a picture that is no PNG': ['generate', '--grid', '--out', 'x.jpg'],
  'a video of another kind': ['edit', ...DIRECTION, '--video', 'x.mp4'],
  'a flag of another kind': ['make', 'ir-se', '--style-width', '8'],
};

for (const [what, args] of Object.entries(WRONG)) {
  test(`wrong usage exits with 2: ${what}`, async (t) => {
    const plain = await t.context.run(...args);
    t.is(plain.code, 2, plain.stderr);
    t.is(plain.stdout, '');
    t.true(plain.stderr.length > 0);
    const json = await t.context.run(...args, '--json');
    t.is(json.code, 2);
    t.is(json.stderr, '');
    const object = only(json) as { ok: boolean; error: Record<string, unknown> };
    t.false(object.ok);
    t.deepEqual(Object.keys(object), ['ok', 'error']);
    t.deepEqual(Object.keys(object.error), ['code', 'message', 'remedy']);
    t.is(object.error['code'], 'ERR_STYLECLIP_ARGUMENT');
    t.true(Object.values(object.error).every((text) => typeof text === 'string' && text !== ''));
  });
}

test('--json and --json-lines exclude each other', async (t) => {
  const ended = await t.context.run('sweep', '--json', '--json-lines');
  t.is(ended.code, 2);
  t.false((only(ended) as { ok: boolean }).ok);
});

test('bad input exits with 3 and says which file', async (t) => {
  const { cwd, run } = t.context;
  await writeFile(join(cwd, 'there.png'), 'x');
  await writeFile(join(cwd, 'bad.txt'), 'a photo\n');
  await mkdir(join(cwd, 'full'));
  await writeFile(join(cwd, 'full', 'x'), '');
  const cases: [string[], string, string][] = [
    [['info', 'missing.pt'], 'FILE_NOT_FOUND', 'missing.pt'],
    [['info', 'full'], 'FILE_NOT_FOUND', 'full'],
    [['generate', '--grid', '--out', 'there.png'], 'FILE_EXISTS', 'there.png'],
    [['generate', '--out', 'full'], 'FILE_EXISTS', 'full'],
    [['generate', '--out', 'full', '--grid', '--count', '1', '--model', 'none'], 'FILE_EXISTS', 'full'],
    [['generate', '--model', 'none'], 'FILE_NOT_FOUND', 'none'],
    [['make', 'clip', '--config', 'bad.txt'], 'FILE_DAMAGED', 'bad.txt'],
    [['make', 'clip', '--tokenizer', 'missing.json'], 'FILE_NOT_FOUND', 'missing.json'],
    [['run', 'missing.pt', 'embed', '--in', 'bad.txt'], 'FORMAT_UNKNOWN', 'bad.txt'],
    [['info', '-'], 'FILE_DAMAGED', 'standard input'],
  ];
  for (const [args, code, file] of cases) {
    const ended = await run(...args, '--json');
    t.is(ended.code, 3, args.join(' '));
    const { error } = only(ended) as { error: { code: string; message: string } };
    t.is(error.code, `ERR_STYLECLIP_${code}`, args.join(' '));
    t.true(error.message.includes(file), error.message);
  }
});

test('--quiet leaves stdout empty, errors stay on stderr', async (t) => {
  for (const extra of [[], ['--json']]) {
    const ended = await t.context.run('info', 'missing.pt', '--quiet', ...extra);
    t.is(ended.code, 3);
    t.is(ended.stdout, '');
    t.true(ended.stderr.includes('missing.pt'));
  }
});

test('nothing is coloured that is no terminal', async (t) => {
  for (const args of [['--help'], ['swep'], ['info', 'missing.pt'], ['doctor']]) {
    const ended = await t.context.run(...args);
    t.false(`${ended.stdout}${ended.stderr}`.includes('\u001B'), args.join(' '));
  }
});

test('a broken configuration file is bad input', async (t) => {
  for (const content of ['{', '[]', '{"devise":"cpu"}', '{"device":"gpu"}', '{"threads":true}', '{"threads":0}']) {
    await writeFile(join(t.context.cwd, 'styleclip.config.json'), content);
    const ended = await t.context.run('generate', '--json');
    t.is(ended.code, 3, content);
    const { error } = only(ended) as { error: { code: string; message: string } };
    t.is(error.code, 'ERR_STYLECLIP_FILE_DAMAGED');
    t.true(error.message.includes('styleclip.config.json'));
  }
});

test('a flag beats the environment beats the file beats the default', async (t) => {
  const { cwd } = t.context;
  const source = async (args: string[], env: Record<string, string>): Promise<Record<string, string[]>> => {
    const ended = await styleclip(['doctor', '--json', ...args], { cwd, env });
    const { result } = only(ended) as { result: { settings: { name: string; value: string; source: string }[] } };
    return Object.fromEntries(result.settings.map(({ name, value, source: from }) => [name, [value, from]]));
  };
  const none = await source([], {});
  t.deepEqual(none['device'], ['auto', 'default']);
  t.deepEqual(none['model'], ['cats', 'default']);
  await writeFile(
    join(cwd, 'styleclip.config.json'),
    JSON.stringify({ device: 'cpu', threads: 1, log: 'error', cache: join(cwd, 'cache') }),
  );
  const file = await source([], { STYLECLIP_CACHE: '' });
  t.deepEqual(file['device'], ['cpu', 'configuration file']);
  t.deepEqual(file['threads'], ['1', 'configuration file']);
  t.deepEqual(file['log'], ['error', 'configuration file']);
  t.deepEqual(file['cache'], [join(cwd, 'cache'), 'configuration file']);
  const environment = await source([], { STYLECLIP_DEVICE: 'auto', STYLECLIP_THREADS: '2', STYLECLIP_LOG: 'warn' });
  t.deepEqual(environment['device'], ['auto', 'environment']);
  t.deepEqual(environment['threads'], ['2', 'environment']);
  t.deepEqual(environment['log'], ['warn', 'environment']);
  const flags = await source(['--device', 'cpu', '--threads', '1'], {
    STYLECLIP_DEVICE: 'auto',
    STYLECLIP_THREADS: '2',
  });
  t.deepEqual(flags['device'], ['cpu', 'flag']);
  t.deepEqual(flags['threads'], ['1', 'flag']);
});

test('an environment without libtorch exits with 4 and names the set-up command', async (t) => {
  const { cwd } = t.context;
  await writeFile(join(cwd, 'x.pt'), 'x');
  const ended = await styleclip(['info', 'x.pt', '--json'], { cwd, env: { STYLECLIP_LIBTORCH: join(cwd, 'nowhere') } });
  t.is(ended.code, 4, ended.stdout);
  const { error } = only(ended) as { error: { code: string; remedy: string } };
  t.is(error.code, 'ERR_STYLECLIP_LIBTORCH_NOT_FOUND');
  t.regex(error.remedy, /setup/);
});
