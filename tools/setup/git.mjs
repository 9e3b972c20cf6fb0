/* What git knows about the checkout's files, for the lint that looks at changes only. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/**
 * @param {string} root
 * @param {string[]} args
 * @returns {Promise<string[]>} lines; none when git or the history is missing
 */
async function git(root, ...args) {
  try {
    const { stdout } = await promisify(execFile)('git', args, { cwd: root, maxBuffer: 1 << 26 });
    return stdout.split('\n').filter((line) => line !== '');
  } catch {
    return [];
  }
}

/**
 * Files of the checkout: tracked, or new and not ignored.
 * @param {string} root
 */
export async function trackedFiles(root) {
  const files = await git(root, 'ls-files', '--cached', '--others', '--exclude-standard');
  const deleted = new Set(await git(root, 'ls-files', '--deleted'));
  return [...new Set(files)].filter((file) => !deleted.has(file)).sort();
}

/**
 * Files changed since STYLECLIP_LINT_BASE, else since this branch left origin's main, else in the last commit (of a merge:
 * all that it brought to its first parent), and those not committed yet. The latest come first: what is not committed, then
 * by the last commit that changed the file.
 * @param {string} root
 */
export async function changedFiles(root) {
  const [head] = await git(root, 'rev-parse', 'HEAD');
  const [fork] = await git(root, 'merge-base', 'HEAD', 'origin/main');
  const base = process.env.STYLECLIP_LINT_BASE ?? (fork && fork !== head ? fork : 'HEAD~1');
  const fresh = await git(root, 'ls-files', '--others', '--exclude-standard');
  const uncommitted = await git(root, 'diff', '--name-only', '--diff-filter=d', 'HEAD');
  const changed = await git(root, 'diff', '--name-only', '--diff-filter=d', base);
  const known = new Set(changed);
  const latestFirst = await git(root, 'log', '--name-only', '--format=', `${base}..HEAD`);
  return [...new Set([...fresh, ...uncommitted, ...latestFirst.filter((file) => known.has(file)), ...changed])];
}
