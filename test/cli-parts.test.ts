/*
 * The parts of the command line that need no process of their own: parsing, progress, exit codes, npz files.
 */
import { deflateRawSync } from 'node:zlib';
import test from 'ava';
import { InvalidArgumentError } from 'commander';
import { exitCodeOf, Interrupted } from '../dist/cli/exit.js';
import { sniffSuffix } from '../dist/cli/input.js';
import * as parse from '../dist/cli/parse.js';
import { formatSeconds, ProgressDisplay, progressText, type ProgressReport } from '../dist/cli/progress.js';
import { ERROR_MEANINGS, StyleClipError, type ErrorName } from '../dist/errors.js';
import { formatNpy } from '../dist/files/npy.js';
import { parseNpz } from '../dist/files/npz.js';

const REPORT: ProgressReport = {
  phase: 'sweep',
  done: 120,
  total: 640,
  unit: 'channels',
  rate: 10.123,
  secondsLeft: 51.4,
};

test('numbers are parsed whole and within their bounds', (t) => {
  const refused = (parser: (text: string) => unknown, ...texts: string[]): void => {
    for (const text of texts) t.throws(() => parser(text), { instanceOf: InvalidArgumentError }, text);
  };
  t.is(parse.numberWithin(-1, 1)('0.5'), 0.5);
  refused(parse.numberWithin(-1, 1), '', ' ', 'x', '1x', 'NaN', 'Infinity', '1.5');
  t.is(parse.integerWithin(1, 10)('10'), 10);
  refused(parse.integerWithin(1, 10), '0', '11', '1.5', '1e99');
  t.deepEqual(parse.numberList('-3,0,4.5'), [-3, 0, 4.5]);
  refused(parse.numberList, '', '1,,2', '1,x', '1e9');
  t.is(parse.seed('18446744073709551615'), 2n ** 64n - 1n);
  refused(parse.seed, '18446744073709551616', '-1', '1.0', '');
  t.is(parse.device('cuda:1'), 'cuda:1');
  refused(parse.device, 'gpu', 'cuda:', 'cuda:-1', 'CPU');
  t.is(parse.beta('auto'), 'auto');
  t.is(parse.beta('0.12'), 0.12);
  refused(parse.beta, '-0.1', '1.1', 'none');
  t.deepEqual(parse.nameList('b4.conv1, b8.conv0'), ['b4.conv1', 'b8.conv0']);
  refused(parse.nameList, '', 'a,,b');
});

test('progress as text', (t) => {
  t.is(progressText(REPORT), 'sweep 18 %, 120/640 channels, 10.1 channels/s, 51 s left');
  t.is(progressText({ phase: 'x', done: 0, total: 0, unit: 'y', rate: 0 }), 'x 0 %, 0/0 y');
  t.is(
    progressText({ phase: 'x', done: 1, total: 2, unit: 'y', rate: 0, detail: { loss: 0.123456 } }),
    'x 50 %, 1/2 y, loss 0.1235',
  );
  t.deepEqual([3.21, 52, 200, 7500].map(formatSeconds), ['3.2 s', '52 s', '3 min 20 s', '2 h 5 min']);
});

function display(isTTY: boolean, enabled = true): { lines: string[]; clock: { now: number }; shown: ProgressDisplay } {
  const lines: string[] = [];
  const clock = { now: 0 };
  const stream = { isTTY, columns: 60, write: (text: string) => lines.push(text) };
  return { lines, clock, shown: new ProgressDisplay(stream, enabled, () => clock.now) };
}

test('a terminal gets a bar that redraws itself and goes away', (t) => {
  const { lines, clock, shown } = display(true);
  shown.update(REPORT);
  clock.now = 50;
  shown.update(REPORT);
  clock.now = 150;
  shown.update({ ...REPORT, done: 640 });
  shown.clear();
  shown.clear();
  t.is(lines.length, 3, 'one of two reports within 100 ms is drawn, and the bar is erased once');
  t.regex(lines[0]!, /^\r\u001B\[2K\[#{5}\.{19}\] sweep 18 %/);
  t.true(lines[0]!.length <= 59 + 5, 'never wider than the terminal');
  t.is(lines[2], '\r\u001B[2K');
});

test('anything else gets a plain line every ten seconds', (t) => {
  const { lines, clock, shown } = display(false);
  for (clock.now = 0; clock.now <= 25_000; clock.now += 1000) shown.update(REPORT);
  shown.clear();
  t.deepEqual(lines, [`${progressText(REPORT)}\n`, `${progressText(REPORT)}\n`]);
  const silent = display(true, false);
  silent.shown.update(REPORT);
  t.deepEqual(silent.lines, []);
});

test('every error code has an exit code, and only bugs exit with 1', (t) => {
  const ones: string[] = [];
  for (const name of Object.keys(ERROR_MEANINGS) as ErrorName[]) {
    const code = exitCodeOf(new StyleClipError(name, 'x', { remedy: 'y' }));
    t.true([1, 2, 3, 4].includes(code), name);
    if (code === 1) ones.push(name);
  }
  t.deepEqual(ones.toSorted(), ['CLOSED', 'INTERNAL']);
  t.is(exitCodeOf(new Error('x')), 1);
  t.is(exitCodeOf(new Interrupted('SIGINT')), 130);
  t.is(exitCodeOf(new Interrupted('SIGTERM')), 143);
});

/** A zip archive of one entry, as zipfile of Python writes it. */
function zip(name: string, content: Uint8Array, method: 0 | 8): Buffer {
  const packed = method === 8 ? deflateRawSync(content) : content;
  const header = (signature: number, central: boolean): Buffer => {
    const h = Buffer.alloc(central ? 46 : 30);
    h.writeUInt32LE(signature);
    const at = central ? 2 : 0;
    h.writeUInt16LE(method, 8 + at);
    h.writeUInt32LE(packed.length, 18 + at);
    h.writeUInt32LE(content.length, 22 + at);
    h.writeUInt16LE(name.length, 26 + at);
    return h;
  };
  const local = Buffer.concat([header(0x04034b50, false), Buffer.from(name), packed]);
  const central = Buffer.concat([header(0x02014b50, true), Buffer.from(name)]);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(local.length, 16);
  return Buffer.concat([local, central, end]);
}

test('npz: stored and deflated arrays, and clear errors for damage', (t) => {
  const npy = Buffer.concat(formatNpy(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]));
  for (const method of [0, 8] as const) {
    const file = zip('x.npy', npy, method);
    const array = parseNpz(file).get('x')!;
    t.deepEqual(array.shape, [2, 3]);
    t.deepEqual([...array.data], [1, 2, 3, 4, 5, 6]);
    for (let length = 0; length < file.length; length += 7) {
      const e = t.throws(() => parseNpz(file.subarray(0, length)));
      t.is(StyleClipError.is(e) && e.code, 'ERR_STYLECLIP_FILE_DAMAGED', `cut to ${length} bytes`);
    }
  }
});

test('what comes through a pipe is named after its first bytes', (t) => {
  const npy = Buffer.concat(formatNpy(Float32Array.of(1), [1]));
  t.is(sniffSuffix(npy), '.npy');
  t.is(sniffSuffix(zip('x.npy', npy, 0)), '.npz');
  t.is(sniffSuffix(zip('cats/data.pkl', npy, 0)), '.pt');
  t.is(sniffSuffix(Buffer.from('89504e470d0a1a0a', 'hex')), '.png');
  t.is(sniffSuffix(Buffer.from('0200000000000000' + Buffer.from('{}').toString('hex'), 'hex')), '.safetensors');
  t.is(sniffSuffix(Buffer.from('a photo of a {}')), '');
});
