#!/usr/bin/env node
/*
 * Stands in for node-gyp when prebuildify calls it: `rebuild --target=… --devdir=… --arch=… --release`. cmake-js would take
 * --target for a CMake target and knows no --devdir; a Node-API addon needs neither. CMake's settings come through the
 * environment, since prebuildify passes none on.
 */
import { spawnSync } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const settings = Object.entries(JSON.parse(process.env.STYLECLIP_CMAKE_SETTINGS ?? '{}'));
const config = process.argv.includes('--debug') ? 'Debug' : 'Release';
const common = ['--directory', root, '--out', resolve('build'), '--config', config];

for (const args of [['configure', ...settings.map(([key, value]) => `--CD${key}=${value}`)], ['build']]) {
  const { status } = spawnSync(
    process.execPath,
    [join(root, 'node_modules/cmake-js/bin/cmake-js'), ...args, ...common],
    {
      stdio: 'inherit',
    },
  );
  if (status !== 0) process.exit(status ?? 1);
}
