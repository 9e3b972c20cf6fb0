// Which files clang-tidy gets: those that changed, the latest first, so that a limit leaves out the oldest.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { sourcesOf } from '../tools/lint.mjs';
import { changedFiles, trackedFiles } from '../tools/setup/git.mjs';
import { scratch } from './helpers/fake-libtorch.js';

const withGit = spawnSync('git', ['--version']).status === 0 ? test : test.skip;

/** A repository whose commits are a minute apart. */
async function repository(t: ExecutionContext) {
  const root = await scratch(t);
  let minute = 0;
  const git = (...args: string[]) => {
    const date = `2026-01-01T00:${String(minute).padStart(2, '0')}:00Z`;
    const who = ['-c', 'user.name=a', '-c', 'user.email=a@example.org', '-c', 'commit.gpgsign=false'];
    const env = { ...process.env, GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date };
    execFileSync('git', [...who, ...args], { cwd: root, env, stdio: 'ignore' });
  };
  const write = async (...files: string[]) => {
    for (const file of files) await writeFile(join(root, file), `${file} at ${minute}`);
  };
  const commit = async (...files: string[]) => {
    minute += 1;
    await write(...files);
    git('add', '-A');
    git('commit', '-m', 'x');
  };
  git('init', '--initial-branch=main');
  await mkdir(join(root, 'cpp'));
  await commit('cpp/a.cpp', 'cpp/b.cpp', 'cpp/c.cpp', 'cpp/d.cpp', 'cpp/gone.cpp');
  return { root, git, write, commit };
}

withGit('changed files: those of the last commit, of a merge all that it brought, the latest first', async (t) => {
  const { root, git, commit } = await repository(t);
  await commit('cpp/a.cpp');
  await commit('cpp/d.cpp');
  t.deepEqual(await changedFiles(root), ['cpp/d.cpp']);
  git('checkout', '-b', 'side', 'HEAD~1');
  await commit('cpp/b.cpp', 'cpp/c.cpp');
  await commit('cpp/c.cpp');
  await commit('cpp/gone.cpp');
  await rm(join(root, 'cpp/gone.cpp'));
  await commit('cpp/b.cpp');
  git('checkout', 'main');
  git('merge', '--no-ff', '-m', 'merge', 'side');
  t.deepEqual(await changedFiles(root), ['cpp/b.cpp', 'cpp/c.cpp']);
});

withGit('changed files: what is not committed comes before what is', async (t) => {
  const { root, write, commit } = await repository(t);
  await commit('cpp/a.cpp');
  await write('cpp/new.cpp', 'cpp/d.cpp');
  t.deepEqual(await changedFiles(root), ['cpp/new.cpp', 'cpp/d.cpp', 'cpp/a.cpp']);
  t.deepEqual(
    (await trackedFiles(root)).filter((file) => file.includes('new')),
    ['cpp/new.cpp'],
  );
});

test('no repository: no files', async (t) => {
  t.deepEqual(await changedFiles(await scratch(t)), []);
});

test('sources: each once, in the order of what changed, a header standing for its source', (t) => {
  const sources = ['cpp/a.cpp', 'cpp/b.cpp', 'cpp/c.cpp'];
  const changed = ['cpp/c.h', 'README.md', 'cpp/a.md', 'cpp/b.cpp', 'cpp/c.cpp', 'cpp/headers.h', 'test/a.cpp'];
  t.deepEqual(sourcesOf(changed, sources), ['cpp/c.cpp', 'cpp/b.cpp']);
});
