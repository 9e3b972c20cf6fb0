/*
 * Asks pip where a package's wheel is, and downloads it. Going through pip means that the user's own configuration
 * counts: mirrors, proxies, certificates, local wheel directories, PyTorch's CPU index. No address is written here.
 */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SetupError } from './errors.mjs';

/**
 * @typedef {object} Wheel
 * @property {string} name normalised, for example `nvidia-cuda-runtime`
 * @property {string} version
 * @property {string} file the wheel's file name
 * @property {string} url
 * @property {string | undefined} sha256
 * @property {number | undefined} bytes
 * @property {string} licence
 * @property {string[]} requires its Requires-Dist lines
 */

const RETRIES = 3;

/** One Python with pip, and what its pip can do. */
export class Pip {
  /**
   * @param {string} python
   * @param {[number, number]} pythonVersion
   * @param {[number, number]} version
   * @param {NodeJS.ProcessEnv} env
   */
  constructor(python, pythonVersion, version, env) {
    this.python = python;
    this.pythonVersion = pythonVersion;
    this.version = version;
    this.env = env;
    /** @type {Promise<string> | undefined} */
    this.certificate = undefined;
  }

  /**
   * The first Python 3 with a pip that can tell what it would take (22.2 or newer).
   * @param {NodeJS.ProcessEnv} [env]
   */
  static async find(env = process.env) {
    const tried = [];
    for (const python of new Set([env.STYLECLIP_PYTHON ?? 'python3', 'python3', 'python'])) {
      const result = await capture(python, ['-m', 'pip', '--version'], env);
      const match = /^pip (\d+)\.(\d+).*\(python (\d+)\.(\d+)\)/m.exec(result.stdout);
      if (!match) {
        tried.push(`${python}: ${result.stderr.trim().split('\n').at(-1) || 'has no pip'}`);
        continue;
      }
      const [major = 0, minor = 0, pythonMajor = 0, pythonMinor = 0] = match.slice(1).map(Number);
      if (major * 100 + minor >= 2202) return new Pip(python, [pythonMajor, pythonMinor], [major, minor], env);
      tried.push(`${python}: pip ${major}.${minor} is too old, 22.2 is needed`);
    }
    throw new SetupError(
      'LIBTORCH_NOT_FOUND',
      `No Python 3 with pip was found, which downloads libtorch. Tried: ${tried.join('; ')}.`,
      'Install python3 and pip (on Debian: apt install python3-pip), or use `styleclip setup --from WHEEL`.',
    );
  }

  /**
   * Options that let any Python 3 choose a wheel for this machine: an interpreter that torch has no wheels for would
   * otherwise find none. Only compiled libraries are taken from it, which are the same in the wheels of every Python.
   */
  platformOptions() {
    const [major, minor] = this.pythonVersion;
    if (major === 3 && minor >= 10 && minor <= 14) return [];
    const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
    const glibc = Array.from({ length: 18 }, (_, i) => `manylinux_2_${34 - i}_${machine}`);
    const platforms = [...glibc, `manylinux2014_${machine}`, `linux_${machine}`].flatMap((p) => ['--platform', p]);
    return ['--python-version', '3.12', '--implementation', 'cp', ...platforms];
  }

  /**
   * What pip would take for `requirements`, without downloading.
   * @param {string[]} requirements
   * @param {{ dependencies?: boolean }} [options]
   * @returns {Promise<Wheel[]>}
   */
  async resolve(requirements, options = {}) {
    const scratch = await mkdtemp(join(tmpdir(), 'styleclip-pip-'));
    try {
      const report = join(scratch, 'report.json');
      const flags = ['--dry-run', '--ignore-installed', '--quiet', '--only-binary=:all:', '--no-input'];
      const target = ['--target', join(scratch, 'target'), '--report', report];
      const args = ['-m', 'pip', 'install', ...flags, ...target, ...this.platformOptions()];
      if (!options.dependencies) args.push('--no-deps');
      const result = await capture(this.python, [...args, ...requirements], this.env);
      if (result.status !== 0) throw pipError(`pip finds no ${requirements.join(', ')}`, result.stderr);
      const { install } = JSON.parse(await readFile(report, 'utf8'));
      return await Promise.all(install.map((/** @type {any} */ item) => this.#describe(item)));
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
  }

  /**
   * @param {any} item of pip's report
   * @returns {Promise<Wheel>}
   */
  async #describe({ metadata, download_info: { url, archive_info: archive } }) {
    return {
      name: normalise(metadata.name),
      version: metadata.version,
      file: decodeURIComponent(basename(new URL(url).pathname)),
      url,
      sha256: archive?.hashes?.sha256 ?? /^sha256=(.*)/.exec(archive?.hash ?? '')?.[1],
      bytes: await this.#size(url),
      licence: metadata.license_expression ?? metadata.license?.split('\n')[0] ?? licenceOf(metadata.classifier),
      requires: metadata.requires_dist ?? [],
    };
  }

  /**
   * Size of a wheel before it is downloaded; undefined when the server does not say. Asked through Python, so that the
   * same proxies and certificates apply.
   * @param {string} url
   */
  async #size(url) {
    if (url.startsWith('file:')) return (await stat(fileURLToPath(url))).size;
    this.certificate ??= this.env.PIP_CERT ? Promise.resolve(this.env.PIP_CERT) : this.#setting('global.cert');
    const code =
      'import ssl, sys, urllib.request as u\n' +
      'c = ssl.create_default_context(cafile=sys.argv[2] or None)\n' +
      'r = u.urlopen(u.Request(sys.argv[1], method="HEAD"), timeout=15, context=c)\n' +
      'print(r.headers["Content-Length"])';
    const result = await capture(this.python, ['-c', code, url, await this.certificate], this.env);
    const bytes = Number.parseInt(result.stdout, 10);
    return result.status === 0 && bytes > 0 ? bytes : undefined;
  }

  /** @param {string} key */
  async #setting(key) {
    const result = await capture(this.python, ['-m', 'pip', 'config', 'get', key], this.env);
    return result.status === 0 ? result.stdout.trim() : '';
  }

  /**
   * Downloads one wheel into `directory` and returns its path. Tries again when the connection breaks; a pip that can
   * resume does so. pip's own cache is left out, since it would keep a second copy for ever.
   * @param {Wheel} wheel
   * @param {string} directory
   * @param {(bytes: number) => void} onProgress bytes on disk so far
   */
  async download(wheel, directory, onProgress) {
    const scratch = join(directory, 'pip-temporary');
    const resume = this.version[0] * 100 + this.version[1] >= 2501 ? ['--resume-retries', '20'] : [];
    const flags = [
      '--no-deps',
      '--only-binary=:all:',
      '--no-cache-dir',
      '--no-input',
      '--progress-bar',
      'off',
      '--quiet',
    ];
    const requirement = `${wheel.name}==${wheel.version}`;
    const args = [
      '-m',
      'pip',
      'download',
      ...flags,
      ...resume,
      ...this.platformOptions(),
      '--dest',
      directory,
      requirement,
    ];
    for (let attempt = 1; ; attempt++) {
      await rm(scratch, { recursive: true, force: true });
      await mkdir(scratch, { recursive: true });
      const watch = setInterval(() => void bytesIn(directory).then(onProgress), 500);
      const result = await capture(this.python, args, { ...this.env, TMPDIR: scratch });
      clearInterval(watch);
      await rm(scratch, { recursive: true, force: true });
      if (result.status === 0) return join(directory, wheel.file);
      if (/No space left|Disk quota/i.test(result.stderr)) {
        throw new SetupError(
          'DISK',
          `The disk filled up while downloading ${wheel.file}.`,
          freeSomeSpace,
          result.stderr,
        );
      }
      if (attempt === RETRIES) throw pipError(`pip could not download ${wheel.file}`, result.stderr);
    }
  }
}

const freeSomeSpace =
  'Free some space, or set STYLECLIP_CACHE to a directory on another disk, and run the command again.';

/**
 * @param {string} message
 * @param {string} stderr
 */
function pipError(message, stderr) {
  const last =
    stderr
      .trim()
      .split('\n')
      .filter((line) => line.startsWith('ERROR'))
      .at(-1) ?? stderr.trim().split('\n').at(-1);
  return new SetupError(
    'LIBTORCH_NOT_FOUND',
    `${message}: ${last || 'no reason given'}`,
    "Check the network and pip's configuration (`pip config list`), or use `styleclip setup --from WHEEL`.",
    stderr,
  );
}

/** @param {string} name */
function normalise(name) {
  return name.toLowerCase().replace(/[-_.]+/g, '-');
}

/** @param {string[] | undefined} classifiers */
function licenceOf(classifiers) {
  const line = classifiers?.find((c) => c.startsWith('License ::'));
  return line?.split(' :: ').at(-1) ?? 'not stated; see the wheel';
}

/**
 * Bytes of all files below a directory.
 * @param {string} directory
 * @returns {Promise<number>}
 */
async function bytesIn(directory) {
  const entries = await readdir(directory, { withFileTypes: true, recursive: true }).catch(() => []);
  const sizes = entries
    .filter((e) => e.isFile())
    .map((e) =>
      stat(join(e.parentPath, e.name)).then(
        (s) => s.size,
        () => 0,
      ),
    );
  return (await Promise.all(sizes)).reduce((a, b) => a + b, 0);
}

/**
 * Programs at work: a download must not go on when the one who wanted it has left.
 * @type {Set<import('node:child_process').ChildProcess>}
 */
const running = new Set();

function stopAll() {
  for (const child of running) child.kill();
}

/**
 * Runs a program and collects what it says.
 * @param {string} command
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<{ status: number | null, stdout: string, stderr: string }>}
 */
function capture(command, args, env) {
  return new Promise((done) => {
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
    if (running.size === 0) process.on('exit', stopAll);
    running.add(child);
    child.on('error', (error) => done({ status: null, stdout, stderr: `${stderr}${error.message}` }));
    child.on('close', (status) => {
      running.delete(child);
      if (running.size === 0) process.off('exit', stopAll);
      done({ status, stdout, stderr });
    });
  });
}
