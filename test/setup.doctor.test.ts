// The doctor: says what is there and what is missing, and survives a libtorch that kills whoever opens it.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';
import type { DoctorOptions, DoctorResult } from '../dist/setup/doctor.js';
import { makeLibtorch, scratch } from './helpers/fake-libtorch.js';

const DOCTOR = new URL('../dist/setup/doctor.js', import.meta.url).href;

/** Runs the doctor in a process of its own, since the environment decides what it finds. */
function doctor(options: DoctorOptions, env: NodeJS.ProcessEnv = {}): Promise<DoctorResult> {
  const source = `
    import { runDoctor } from ${JSON.stringify(DOCTOR)};
    console.log(JSON.stringify(await runDoctor(JSON.parse(process.argv[1]))));
  `;
  const args = ['--input-type=module', '-e', source, JSON.stringify(options)];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { env: { ...process.env, ...env } }, (error, stdout) => {
      if (error) reject(error);
      else resolve(JSON.parse(stdout) as DoctorResult);
    });
  });
}

test('on this machine everything is fine, down to a picture from a small model', async (t) => {
  const result = await doctor({ load: true, settings: [{ name: 'device', value: 'cpu', source: 'flag' }] });
  t.deepEqual(
    result.checks.filter((check) => !check.ok),
    [],
  );
  const names = result.checks.map((check) => check.name);
  for (const name of ['platform', 'addon', 'libtorch', 'opens', 'devices', 'runs a small model', 'cache']) {
    t.true(names.includes(name), name);
  }
  t.like(
    result.checks.find((check) => check.name === 'setting device'),
    { ok: true, value: 'cpu (flag)' },
  );
  t.like(result, { platform: `${process.platform}-${process.arch}`, node: process.versions.node });
  t.true(result.napi >= 9);
  t.is(result.devices[0], 'cpu');
  t.is(result.addon?.builtWith.split('.')[0], result.libtorch?.version.split('.')[0]);
});

test('a missing libtorch is named with the place and the command', async (t) => {
  const { checks, libtorch, devices } = await doctor({}, { STYLECLIP_LIBTORCH: '/no/such/place' });
  const check = checks.find(({ name }) => name === 'libtorch');
  t.like(check, { ok: false, remedy: 'Run `npx styleclip setup`.' });
  t.regex(check?.value ?? '', /\/no\/such\/place/);
  t.is(libtorch, null);
  t.deepEqual(devices, []);
});

test('a libtorch that ends the process is reported, not suffered', async (t) => {
  const root = await scratch(t);
  const source = '#include <stdlib.h>\n__attribute__((constructor)) static void die(void) { abort(); }\n';
  const { addon } = await doctor({});
  const directory = await makeLibtorch(root, { version: addon?.builtWith ?? '', source });
  const { checks } = await doctor({}, { STYLECLIP_LIBTORCH: directory });
  const check = checks.find(({ name }) => name === 'opens');
  t.false(check?.ok);
  t.regex(check?.value ?? '', /was ended by SIGABRT/);
  t.truthy(check?.remedy);
});

test('a library that libtorch lacks is named before it is opened', async (t) => {
  const root = await scratch(t);
  const { addon } = await doctor({});
  const directory = await makeLibtorch(root, { version: addon?.builtWith ?? '', needs: 'libcupti.so.99' });
  const { checks } = await doctor({}, { STYLECLIP_LIBTORCH: join(directory) });
  t.like(
    checks.find(({ name }) => name === "libtorch's libraries"),
    { ok: false, value: 'not found: libcupti.so.99' },
  );
});
