/*
 * npm's packages, through the npm that runs us. `npm ci` inside `npm start` has three traps: NODE_ENV=production leaves the
 * development packages out, `npm --prefix DIR start` hands its prefix down, and PATH may name another npm.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { run } from './processes.mjs';
import { hashFiles } from './steps.mjs';

/** Settings of the outer npm that must not reach the inner one. */
const NOT_HANDED_DOWN =
  /^npm_config_(prefix|local_prefix|global|global_prefix|omit|include|production|only|dry_run|workspaces?)$/i;

/**
 * @param {string} root
 * @param {import('./say.mjs').Voice} voice
 * @returns {import('./steps.mjs').Step}
 */
export function npmStep(root, voice) {
  return {
    name: 'npm',
    title: 'npm packages: npm ci',
    // Compiled packages differ between Node's ABIs, and node_modules may have been copied from another machine.
    inputs: async () => [
      await hashFiles(root, ['package-lock.json']),
      process.versions.modules,
      process.platform,
      process.arch,
    ],
    outputs: ['node_modules/.package-lock.json', 'node_modules/typescript/bin/tsc'],
    run: async () => {
      const [command, ...first] = npmCommand();
      const args = [...first, 'ci', '--include=dev', '--no-audit', '--no-fund', `--prefix=${root}`];
      await run(command, args, {
        cwd: root,
        env: { ...cleanEnvironment(process.env), NODE_ENV: 'development' },
        log: join(root, 'build', 'setup', 'npm.log'),
        onLine: (line) => voice.tick(`      ${line}`),
      });
    },
  };
}

/**
 * The npm that started us, else the one beside this Node, else the one on PATH.
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {[string, ...string[]]}
 */
export function npmCommand(env = process.env) {
  const beside = join(dirname(process.execPath), '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js');
  const script = [env.npm_execpath, beside].find((file) => file?.endsWith('npm-cli.js') && existsSync(file));
  return script ? [process.execPath, script] : ['npm'];
}

/**
 * @param {NodeJS.ProcessEnv} env
 * @returns {NodeJS.ProcessEnv}
 */
export function cleanEnvironment(env) {
  return Object.fromEntries(Object.entries(env).filter(([key]) => !NOT_HANDED_DOWN.test(key)));
}
