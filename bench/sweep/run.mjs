/*
 * How many pictures a second does the relevance sweep render and embed? On the cats, every method compiled in, beside the
 * same sweep picture by picture (what the released code does) and a 2048 x 2048 x 2048 matrix product on the same threads.
 *
 *     --images 2        sample pictures (each is rendered twice for every channel)
 *     --layers conv     style layers: conv, torgb, all, or one layer's name
 *     --threads 0       0: libtorch's choice
 *     --repeats 3       turns of every contender
 *     --batch 0         pictures a forward; 0: chosen
 *     --generator FILE, --clip FILE   other models than the cats
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const ROOT = join(import.meta.dirname, '..', '..');
const execute = promisify(execFile);

export const describe = 'pictures a second of the relevance sweep on the cats, by method';

/**
 * @param {string} program
 * @param {string[]} args
 */
async function call(program, args) {
  try {
    // Threads that wait without spinning, as the package sets it: other programs need their cores.
    const env = { OMP_WAIT_POLICY: 'passive', ...process.env };
    return (await execute(program, args, { cwd: ROOT, env, maxBuffer: 2 ** 26 })).stdout;
  } catch (error) {
    const output = /** @type {{ stdout?: string, stderr?: string }} */ (error);
    const tail = `${output.stdout ?? ''}${output.stderr ?? ''}`.trimEnd().split('\n').slice(-20).join('\n');
    throw new Error(`${[program, ...args].join(' ')} failed:\n${tail}`, { cause: error });
  }
}

/** @param {Record<string, string>} options */
export async function run(options) {
  const { generator, clip, ...rest } = options;
  await call(process.execPath, [join('tools', 'build.mjs'), 'native']);
  await call('cmake', ['-DSTYLECLIP_BENCH=ON', 'build']);
  await call('cmake', ['--build', 'build', '--target', 'sweep_bench', '--parallel', '2']);
  const cats = join(ROOT, 'models', 'cats');
  return JSON.parse(
    await call(join(ROOT, 'build', 'bench', 'sweep_bench'), [
      generator ?? join(cats, 'generator.pt'),
      clip ?? join(cats, 'clip.pt'),
      ...Object.entries(rest).flatMap(([name, value]) => [`--${name}`, value]),
    ]),
  );
}

/**
 * @param {{
 *   threads: number,
 *   machine: { cpu: string, loadBefore: number },
 *   matmul: { size: number, gflops: number },
 *   sweep: { channels: number, pictures: number },
 *   methods: {
 *     name: string, batch: number, imagesPerSecond: number, timesPictureByPicture: number,
 *     agreement: { largestDistance: number, lowestCosine: number },
 *   }[],
 * }} result
 */
export function show(result) {
  const { size, gflops } = result.matmul;
  const lines = [
    `${result.machine.cpu}, ${result.threads} threads, load ${result.machine.loadBefore} before`,
    `${result.sweep.channels} channels x ${result.sweep.pictures} pictures x 2; matmul ${size}: ${gflops.toFixed(0)} GFLOP/s`,
    'method               images/s   times   largest distance   lowest cosine',
  ];
  for (const method of result.methods) {
    lines.push(
      [
        method.name.padEnd(20),
        method.imagesPerSecond.toFixed(1).padStart(8),
        method.timesPictureByPicture.toFixed(2).padStart(8),
        method.agreement.largestDistance.toExponential(1).padStart(18),
        method.agreement.lowestCosine.toFixed(6).padStart(15),
      ].join(' '),
    );
  }
  return `${lines.join('\n')}\n`;
}
