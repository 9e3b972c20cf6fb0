/*
 * tools/gpu-check.sh without a GPU: what it would run, and what its report says when programs in the place of cmake,
 * nvcc, nvidia-smi, compute-sanitizer and our own answer as told.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';

const SCRIPT = fileURLToPath(new URL('../tools/gpu-check.sh', import.meta.url));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function bash(args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn('bash', args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (text) => (stdout += String(text)));
    child.stderr.on('data', (text) => (stderr += String(text)));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

const dryRun = (...args: string[]) => bash([SCRIPT, '--dry-run', ...args]);

test('the script is whole, and a dry run lists the steps', async (t) => {
  t.deepEqual(await bash(['-n', SCRIPT]), { code: 0, stdout: '', stderr: '' });
  const folder = join(tmpdir(), `styleclip-gpu-check-none-${process.pid}`);
  const all = await dryRun('--build', folder, '--timeout', '77');
  t.is(all.code, 0, all.stderr);
  const steps = all.stdout.trimEnd().split('\n');
  t.true(steps.every((line) => / timeout 77 \S/.test(line)));
  const names = steps.map((line) => line.slice(0, line.indexOf(':')).split(' ')[1] ?? '');
  const expected = [
    ...['configure', 'compile', 'plugin', 'selfcheck', 'timings', 'screened', 'stages'],
    ...['sweep-exact', 'sweep-exact-tf32', 'sweep-exact-float16', 'sweep-exact-bfloat16'],
    ...['memcheck', 'racecheck', 'synccheck', 'initcheck', 'memcheck-sweep', 'initcheck-sweep'],
  ];
  t.deepEqual(names.toSorted(), expected.toSorted());
  const line = (name: string) => steps[names.indexOf(name)] ?? '';
  for (const tool of ['memcheck', 'racecheck', 'synccheck', 'initcheck']) {
    t.regex(line(tool), new RegExp(`--tool ${tool} .*styleclip_selfcheck .*--implementation cuda$`));
  }
  t.regex(line('initcheck-sweep'), /--tool initcheck .*styleclip_bench sweep .*--size 64 /);
  t.regex(line('compile'), /--parallel \d+ /);
  t.false(existsSync(folder));
});

test('a dry run of some parts and steps, and words that are none', async (t) => {
  const some = await dryRun('--parts', 'memcheck,stages');
  t.regex(some.stdout, /^build configure: .*\nbuild compile: .*\nstages stages: .*\nsanitize memcheck: .*\n$/);
  const cpu = await dryRun('--device', 'cpu', '--size', '64', '--parts', 'check,sanitize,sweep');
  t.is(cpu.code, 0, cpu.stderr);
  t.notRegex(cpu.stdout, /cuda|CUDA|sanitize/);
  t.regex(cpu.stdout, /sweep sweep-exact-bfloat16: .* --size 64 /);
  for (const args of [['--parts', 'memchek'], ['--device', 'tpu'], ['--parts'], ['--part', 'check']]) {
    const { code, stderr } = await dryRun(...args);
    t.is(code, 2, args.join(' '));
    t.not(stderr, '');
  }
});

/** A program that logs its call and answers from files named by its step: STEP.json, STEP.exit, STEP.sleep. */
const PROGRAM = `#!/usr/bin/env bash
echo "$(basename "$0") $*" >> "$FAKES/calls"
json=''
while [ $# -gt 0 ]; do
  if [ "$1" = --json ]; then json=$2; fi
  shift
done
step=$(basename "$json" .json)
if [ -f "$FAKES/$step.sleep" ]; then sleep "$(cat "$FAKES/$step.sleep")"; fi
if [ -f "$FAKES/$step.json" ]; then cp "$FAKES/$step.json" "$json"; fi
echo "said by $step"
exit "$(cat "$FAKES/$step.exit" 2> /dev/null || echo 0)"
`;
const CMAKE = `#!/usr/bin/env bash
if [ "$1" = --build ]; then
  mkdir -p "$2/test" "$2/bench"
  for name in test/styleclip_selfcheck test/styleclip_plugin_test bench/styleclip_bench; do
    cp "$FAKES/program" "$2/$name"
  done
  touch "$2/styleclip_cuda.so"
fi
`;
const SANITIZER = `#!/usr/bin/env bash
tool=$2
if [ -f "$FAKES/$tool.log" ]; then cat "$FAKES/$tool.log"; exit 9; fi
echo '========= ERROR SUMMARY: 0 errors'
`;
const NVCC = "#!/bin/sh\necho 'Cuda compilation tools, release 13.0, V13.0.88'\n";
const SMI = '#!/bin/sh\ncase "$*" in *compute_cap*) echo 9.0 ;; *) echo \'GPU of the test, 1.2\' ;; esac\n';

interface Piece {
  part: string;
  step: string;
  status: string;
  commit: string | null;
  sources: string;
  log?: string[];
  result?: Record<string, unknown>;
}
interface Report {
  passed: boolean;
  commit: string | null;
  gpus: string[];
  steps: Record<string, string>;
  notRun: string[];
  stale: { step: string }[];
  unreadable: string[];
  summary: {
    sweeps: Record<string, unknown>[];
    kernels: Record<string, unknown>[];
    kernelsBelowGoal: string[];
    screened: Record<string, unknown>[];
    shareOfMatmul: unknown;
    computeSanitizer: Record<string, Record<string, unknown>>;
  };
  pieces: Record<string, Piece>;
}

interface Machine {
  readonly run: (parts: string, ...args: string[]) => Promise<Ended>;
  readonly report: () => Promise<Report>;
  /** Writes what a program answers from; the value as JSON unless it is text. */
  readonly put: (file: string, content: unknown) => Promise<void>;
  readonly piece: (step: string) => string;
  readonly env: NodeJS.ProcessEnv;
}

/** A machine with a GPU, as far as the script can see. */
async function machine(t: ExecutionContext, cudaOfTorch = '13.0'): Promise<Machine> {
  const folder = await mkdtemp(join(tmpdir(), 'styleclip-gpu-check-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const [bin, torch, build, out] = ['bin', 'torch', 'build', join('not', 'there', 'yet')].map((name) =>
    join(folder, name),
  ) as [string, string, string, string];
  await mkdir(join(bin, 'root', 'bin'), { recursive: true });
  await mkdir(torch);
  await writeFile(join(torch, '__init__.py'), `__version__ = '2.0'\nclass version:\n    cuda = '${cudaOfTorch}'\n`);
  await writeFile(join(folder, 'program'), PROGRAM, { mode: 0o755 });
  const programs = { cmake: CMAKE, 'nvidia-smi': SMI, 'compute-sanitizer': SANITIZER, 'root/bin/nvcc': NVCC };
  for (const [name, text] of Object.entries(programs)) await writeFile(join(bin, name), text, { mode: 0o755 });
  const env = {
    ...process.env,
    ...{ PATH: `${bin}:${process.env['PATH'] ?? ''}`, PYTHONPATH: folder, FAKES: folder, OUT: out },
    ...{ STYLECLIP_NVCC: join(bin, 'root'), STYLECLIP_SANITIZER: join(bin, 'compute-sanitizer') },
    STYLECLIP_COMMIT: 'abc1234',
  };
  return {
    env,
    run: (parts, ...args) => bash([SCRIPT, '--build', build, '--parts', parts, ...args], env),
    report: async () => JSON.parse(await readFile(join(out, 'gpu-check.json'), 'utf8')) as Report,
    put: (file, content) =>
      writeFile(join(folder, file), typeof content === 'string' ? content : JSON.stringify(content)),
    piece: (step) => join(build, 'pieces', `${step}.json`),
  };
}

/** As styleclip_bench and styleclip_selfcheck answer, with round figures. */
const timing = (op: string, bytes: number, shareOfCopy: number, implementation = 'cuda') => ({
  ...{ op, implementation, device: 'cuda:0', shape: '[1]', type: 'Half', bytes, shareOfCopy },
  ...{ milliseconds: 1, gigabytesPerSecond: 1000 * shareOfCopy },
});
const TIMINGS = {
  copyGigabytesPerSecond: { 'cuda:0': 1000 },
  timings: [
    timing('activate', 2e9, 0.9),
    timing('clip_input', 2e9, 0.6),
    timing('edit_loss', 100, 0.1),
    timing('activate', 2e9, 0.2, 'reference'),
  ],
};
const sweepOf = (name: string, more: object = {}) => ({
  generator: { convChannels: 6048 },
  sweep: { pictures: 10, channels: 6048 },
  methods: [
    {
      ...{ name, images: 128_000, imagesPerSecond: 1280, ...more },
      floor: { separate: { seconds: 60 }, fused: { seconds: 40 } },
    },
  ],
});
const SCREENED = {
  sweep: { pictures: 100 },
  screen: { keep: 100 },
  methods: [
    {
      ...{ name: 'exact/float16', seconds: 12, slopeSeconds: 3, paintingSeconds: 9, survivors: 110, timesAsFast: 40 },
      ...{ goal: 27.5, exact: { pictures: 2, scaled: 'linearly in pictures' } },
    },
  ],
};

test('calls with other parts add up to one report, which has the goals beside what was reached', async (t) => {
  const gpu = await machine(t);
  await gpu.put('timings.json', TIMINGS);
  await gpu.put('sweep-exact-float16.json', sweepOf('exact/float16', { reason: 'half of the rows are off' }));
  await gpu.put('screened.json', SCREENED);
  const first = await gpu.run('timings,sweep-exact-float16');
  t.is(first.code, 0, first.stdout + first.stderr);
  t.regex(first.stdout, /60 % of the floor with separate passes, 40 % fused; 16\.7 minutes for 100 pictures/);

  // Cut off while it wrote, and of another checkout: neither may spoil the rest.
  await writeFile(gpu.piece('stages'), '{"part": "stages", "st');
  const old = JSON.parse(await readFile(gpu.piece('timings'), 'utf8')) as Piece;
  await writeFile(gpu.piece('plugin'), JSON.stringify({ ...old, step: 'plugin', sources: 'other' }));
  const second = await gpu.run('screened,memcheck');
  t.is(second.code, 0, second.stdout + second.stderr);

  const report = await gpu.report();
  const steps = ['configure', 'compile', 'timings', 'sweep-exact-float16', 'screened', 'memcheck'];
  t.deepEqual(report.steps, Object.fromEntries(steps.toSorted().map((step) => [step, 'passed'])));
  t.false(report.passed, 'a piece cannot be read');
  t.deepEqual(report.unreadable, ['stages']);
  t.deepEqual(
    report.stale.map((piece) => piece.step),
    ['plugin'],
  );
  t.true(report.notRun.includes('racecheck') && !report.notRun.includes('memcheck'));
  t.deepEqual(report.gpus, ['GPU of the test, 1.2']);
  for (const [step, piece] of Object.entries(report.pieces)) t.is(piece.commit, 'abc1234', step);

  const { sweeps, kernels, kernelsBelowGoal, screened, computeSanitizer } = report.summary;
  t.like(sweeps[0], {
    ...{ name: 'exact/float16', seconds: 100, allChannels: true, reason: 'half of the rows are off', goalOfFloor: 0.6 },
    ...{ floor: { separate: { share: 0.6 }, fused: { share: 0.4 } }, scaled: 'linearly in pictures, from 10' },
  });
  t.true(Math.abs(Number(sweeps[0]?.['minutesOf100Pictures']) - 1000 / 60) < 1e-9);
  t.deepEqual(
    kernels.map((kernel) => [kernel['op'], kernel['shareOfCopy'], kernel['small']]),
    [
      ['edit_loss', 0.1, true],
      ['clip_input', 0.6, false],
      ['activate', 0.9, false],
    ],
  );
  t.deepEqual(kernelsBelowGoal, ['clip_input [1] Half']);
  t.like(screened[0], { seconds: 12, survivors: 110, timesAsFast: 40, goal: 27.5, goalSeconds: 15 });
  t.deepEqual(computeSanitizer, {
    memcheck: { status: 'passed', tool: 'memcheck', program: 'selfcheck', errors: 0, kernels: {} },
  });
});

test('what fails, takes too long, says nothing or is missing does not pass', async (t) => {
  const gpu = await machine(t);
  await gpu.put('timings.json', TIMINGS);
  await gpu.put('timings.exit', '1');
  await gpu.put('stages.sleep', '20');
  await gpu.put(
    'racecheck.log',
    [
      '========= Error: Race reported between Read access at void styleclip::cuda::rows<(int)4>(float*)+0x120 in rows.cu:12',
      '========= Invalid __global__ read of size 4 bytes',
      '=========     at void styleclip::cuda::rows<(int)4>(float *)+0x120 in rows.cu:12',
      '=========     by thread (0,0,0) in block (0,0,0)',
      '========= ERROR SUMMARY: 1 error',
    ].join('\n'),
  );
  const ended = await gpu.run('timings,stages,screened,racecheck', '--timeout', '1');
  t.is(ended.code, 1);
  t.regex(ended.stdout, /gpu-check: FAILED/);
  const report = await gpu.report();
  t.false(report.passed);
  const { configure, compile, ...steps } = report.steps;
  t.deepEqual([configure, compile], ['passed', 'passed']);
  t.deepEqual(steps, { racecheck: 'failed', screened: 'failed', stages: 'timed out', timings: 'failed' });
  t.deepEqual(report.pieces['timings']?.result, TIMINGS, 'what it had measured is kept');
  t.deepEqual(report.pieces['screened']?.log, ['said by screened']);
  t.like(report.summary.computeSanitizer['racecheck'], {
    errors: 1,
    kernels: { 'void styleclip::cuda::rows<(int)4>(float *)': 1 },
  });

  const without = { ...gpu, env: { ...gpu.env, STYLECLIP_SANITIZER: '/nowhere/compute-sanitizer' } };
  const again = await bash([SCRIPT, '--build', join(gpu.piece('x'), '..', '..'), '--parts', 'memcheck'], without.env);
  t.is(again.code, 1);
  t.is((await gpu.report()).steps['memcheck'], 'missing');
});

test('an earlier report is taken over, what runs anew is not', async (t) => {
  const before = await machine(t);
  await before.put('selfcheck.json', { checks: [] });
  await before.put('timings.json', TIMINGS);
  t.is((await before.run('check')).code, 0);
  const earlier = join(String(before.env['OUT']), 'gpu-check.json');
  const now = await machine(t);
  await now.put('timings.json', { ...TIMINGS, timings: [] });
  await now.put('screened.json', SCREENED);
  t.is((await now.run('screened,timings', '--with', earlier)).code, 0);
  const report = await now.report();
  t.true(report.passed);
  t.deepEqual(Object.keys(report.steps).toSorted(), [
    'compile',
    'configure',
    'plugin',
    'screened',
    'selfcheck',
    'timings',
  ]);
  t.deepEqual(report.summary.kernels, []);
});

test("without an nvcc of torch's CUDA it says where it looked", async (t) => {
  const gpu = await machine(t, '99.1');
  const ended = await gpu.run('check');
  t.is(ended.code, 1);
  t.regex(ended.stderr, /Found no nvcc of CUDA 99, .*STYLECLIP_NVCC.*is of CUDA 13\.0\.88/s);
});
