/*
 * `npm run prebuilds`: makes prebuilds/<platform>-<arch>, the native part that goes into the npm package. prebuildify builds
 * through cmake-js (by way of prebuild-shim.mjs) in a folder of its own, since it moves the addon out of the build it made;
 * then the result is checked for what would break on another machine.
 */
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { readElf } from './libtorch/elf.mjs';
import { isSystemLibrary } from './libtorch/inspect.mjs';
import { NativeInputs, ROOT, setUp } from './setup/checkout.mjs';
import { reportFailure } from './setup/failure.mjs';
import { run } from './setup/processes.mjs';
import { Voice } from './setup/say.mjs';

const voice = new Voice();
const cuda = process.argv.includes('--cuda');

try {
  await setUp({ what: 'npm run prebuilds', parts: ['npm'], voice });
  const native = new NativeInputs(voice, cuda);
  await native.fetch();
  const work = join(ROOT, 'build', 'prebuild');
  const output = join(ROOT, 'prebuilds', `${process.platform}-${process.arch}`);
  await rm(output, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  await writeFile(join(work, 'package.json'), JSON.stringify({ name: 'styleclip' }));

  const settings = {
    STYLECLIP_LIBTORCH: native.libtorch?.directory,
    STYLECLIP_PREBUILD: 'ON',
    ...(native.nvcc ? { STYLECLIP_CUDA: 'ON', STYLECLIP_NVCC: native.nvcc } : {}),
  };
  const shim = join(ROOT, 'tools', 'prebuild-shim.mjs');
  const prebuildify = join(ROOT, 'node_modules/prebuildify/bin.js');
  voice.say('prebuild: building (minutes)');
  await run(process.execPath, [prebuildify, '--napi', '--strip', '--cwd', work, '--out', ROOT, '--node-gyp', shim], {
    cwd: ROOT,
    env: { ...process.env, STYLECLIP_CMAKE_SETTINGS: JSON.stringify(settings) },
    log: join(ROOT, 'build', 'setup', 'prebuild.log'),
    onLine: (line) => voice.tick(`      ${line}`),
  });
  await copyFile(join(work, 'build/Release/styleclip.build.json'), join(output, 'styleclip.build.json'));
  await check(output, [ROOT, homedir(), native.libtorch?.directory ?? ROOT, native.nvcc ?? ROOT]);
  voice.say(`prebuild: ${(await readdir(output)).join(', ')} in ${output}`);
} catch (error) {
  reportFailure(error);
}

/**
 * Refuses a prebuild that names places of this machine, or that needs libraries it should not.
 * @param {string} folder
 * @param {string[]} places
 */
async function check(folder, places) {
  for (const name of await readdir(folder)) {
    if (!/\.(node|so)$/.test(name)) continue;
    const file = join(folder, name);
    const { needed, searchPath } = readElf(file);
    const bytes = await readFile(file);
    const place = [...places, ...searchPath.filter((path) => !path.startsWith('$ORIGIN'))].find((p) =>
      bytes.includes(p),
    );
    if (place !== undefined) throw new Error(`${name} holds the path ${place} of this machine`);
    const odd = needed.filter(
      (library) => !isSystemLibrary(library) && !/^lib(torch_cpu|c10|c10_cuda|cudart)\.so/.test(library),
    );
    if (odd.length > 0) throw new Error(`${name} needs ${odd.join(', ')}`);
  }
}
