/*
 * Zip bombs, made here: a few megabytes that unpack to gigabytes, entries that overlap, entries quoted inside each other.
 * Each is refused by a message that says so, by a process that hardly grows and does not take long.
 */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { constants, deflateRawSync } from 'node:zlib';
import test from 'ava';
import { temporaryFolder } from './helpers/cli.js';

const INDEX = new URL('../dist/index.js', import.meta.url).href;
const HARMLESS = fileURLToPath(new URL('../test/data/checkpoints/zip-deflated.pt', import.meta.url));
const GIB = 2 ** 30;

let folder: { path: string; remove: () => Promise<void> };
test.before(async () => {
  folder = await temporaryFolder();
});
test.after.always(async () => folder.remove());

interface Entry {
  readonly name: string;
  readonly packed: number;
  readonly size: number;
  readonly method: number;
  /** Of its local header. */
  readonly at: number;
  readonly crc?: number;
}

/** The fields that both headers share, from the method to the length of the extra field. */
function common({ name, packed, size, method, crc = 0 }: Omit<Entry, 'at'>): Buffer {
  const fields = Buffer.alloc(22);
  fields.writeUInt16LE(method, 0);
  fields.writeUInt32LE(crc, 6);
  fields.writeUInt32LE(packed, 10);
  fields.writeUInt32LE(size, 14);
  fields.writeUInt16LE(Buffer.byteLength(name), 18);
  return fields;
}

function localHeader(entry: Omit<Entry, 'at'>): Buffer {
  return Buffer.concat([Buffer.from('PK\x03\x04\x14\0\0\0', 'latin1'), common(entry), Buffer.from(entry.name)]);
}

/** The directory and the end record of a zip whose entries end at `at`. */
function directory(entries: readonly Entry[], at: number): Buffer {
  const rows = entries.map((entry) => {
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(entry.at, 10);
    const head = Buffer.from('PK\x01\x02\x14\0\x14\0\0\0', 'latin1');
    return Buffer.concat([head, common(entry), rest, Buffer.from(entry.name)]);
  });
  const bytes = rows.reduce((sum, row) => sum + row.length, 0);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(bytes, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...rows, end]);
}

/** A deflate stream of `times` x 16 MiB of zeros: one piece that ends on a whole byte, over and over. */
function zeros(times: number): { packed: Buffer; size: number } {
  const piece = deflateRawSync(Buffer.alloc(16 * 2 ** 20), { level: 9, finishFlush: constants.Z_FULL_FLUSH });
  const last = deflateRawSync(Buffer.alloc(0));
  return { packed: Buffer.concat([...Array.from({ length: times }, () => piece), last]), size: times * 16 * 2 ** 20 };
}

/** One deflated entry of a zip, which may say another size than it unpacks to. */
function bomb(name: string, times: number, said?: number): Buffer {
  const { packed, size } = zeros(times);
  const entry = { name, packed: packed.length, size: said ?? size, method: 8, at: 0 };
  const header = localHeader(entry);
  return Buffer.concat([header, packed, directory([entry], header.length + packed.length)]);
}

/**
 * Fifield's quoted overlap ("A better zip bomb", WOOT 2019): every entry's stream begins with a stored block that holds the
 * next entry's header, and goes on where that one's stream does; all share the zeros at the end.
 */
function quoted(count: number, times: number): Buffer {
  const kernel = zeros(times);
  const parts: Buffer[] = [kernel.packed];
  const entries: Entry[] = [];
  let [packed, size] = [kernel.packed.length, kernel.size];
  for (let i = count - 1; i >= 0; i--) {
    const header = localHeader({ name: `archive/data/${i}`, packed, size, method: 8 });
    parts.unshift(header);
    // Measured from the end for now.
    entries.unshift({ name: `archive/data/${i}`, packed, size, method: 8, at: -(packed + header.length) });
    if (i === 0) break;
    const quote = Buffer.alloc(5);
    quote.writeUInt16LE(header.length, 1);
    quote.writeUInt16LE(0xffff - header.length, 3);
    parts.unshift(quote);
    packed += quote.length + header.length;
    size += header.length;
  }
  const body = Buffer.concat(parts);
  return Buffer.concat([
    body,
    directory(
      entries.map((entry) => ({ ...entry, at: body.length + entry.at })),
      body.length,
    ),
  ]);
}

/** Entries that are stored, not deflated, and all lie over the same bytes. */
function stacked(count: number, bytes: number): Buffer {
  const name = 'archive/data/0';
  const entry = { name, packed: bytes, size: bytes, method: 0, at: 0 };
  const header = localHeader(entry);
  const entries = Array.from({ length: count }, () => entry);
  return Buffer.concat([header, Buffer.alloc(bytes), directory(entries, header.length + bytes)]);
}

interface Seen {
  readonly code: string;
  readonly message: string;
  /** By how much it raised the largest memory of a process that had read a harmless file before. */
  readonly mib: number;
  readonly seconds: number;
}

/** What a process of its own makes of a file, by one call of the package. */
async function seen(call: string, file: string): Promise<Seen> {
  const program = `
    import * as styleclip from ${JSON.stringify(INDEX)};
    const [, file, harmless] = process.argv;
    const peak = () => process.resourceUsage().maxRSS / 1024;
    await styleclip.inspectCheckpoint(harmless);
    const before = peak();
    const begun = performance.now();
    let [code, message] = ['', ''];
    try { await (${call}); } catch (error) { ({ code, message } = error); }
    const seconds = (performance.now() - begun) / 1000;
    console.log(JSON.stringify({ code, message, mib: peak() - before, seconds }));`;
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--input-type=module',
    '-e',
    program,
    file,
    HARMLESS,
  ]);
  return JSON.parse(stdout) as Seen;
}

const INSPECT = 'styleclip.inspectCheckpoint(file)';
const files: readonly (readonly [name: string, make: () => Buffer, call: string, code: string, words: RegExp])[] = [
  // 4 GiB less a piece, the most that a zip without zip64 can say.
  ['4 GiB.pt', () => bomb('archive/data.pkl', 255), INSPECT, 'FORMAT_UNKNOWN', /zip bomb/],
  ['4 GiB.npz', () => bomb('arr.npy', 255), INSPECT, 'FORMAT_UNKNOWN', /zip bomb/],
  ['4 GiB, latents.npz', () => bomb('w.npy', 255), 'styleclip.Latents.load(file)', 'FORMAT_UNKNOWN', /zip bomb/],
  ['says 1 MiB.pt', () => bomb('archive/data.pkl', 255, 2 ** 20), INSPECT, 'FILE_DAMAGED', /longer than it says/],
  ['says 1 MiB.npz', () => bomb('w.npy', 255, 2 ** 20), 'styleclip.Latents.load(file)', 'FILE_DAMAGED', /whole/],
  ['quoted, 4 GiB.pt', () => quoted(255, 1), INSPECT, 'FORMAT_UNKNOWN', /zip bomb/],
  ['quoted, 32 MiB.pt', () => quoted(2, 1), INSPECT, 'FILE_DAMAGED', /overlap/],
  ['quoted.npz', () => quoted(255, 1), 'styleclip.Latents.load(file)', 'FORMAT_UNKNOWN', /zip bomb/],
  ['stacked.pt', () => stacked(2, 2 ** 20), INSPECT, 'FORMAT_UNKNOWN', /twice/],
  ['stacked.npz', () => stacked(60_000, 2 ** 20), 'styleclip.Latents.load(file)', 'FORMAT_UNKNOWN', /zip bomb/],
  ['inside.pt', () => bomb('archive/another.zip', 3), INSPECT, 'FORMAT_UNKNOWN', /data\.pkl|no checkpoint|zip/],
];

test('bombs are small files that would unpack to gigabytes', (t) => {
  const whole = bomb('x', 255);
  t.true(whole.length < 5e6, `${whole.length} bytes`);
  t.true(zeros(255).size > 3.9 * GIB);
  t.true(quoted(255, 1).length < 1e5);
});

test('bombs are refused as what they are, in little memory and time', async (t) => {
  const base = await seen(INSPECT, HARMLESS);
  t.is(base.code, '', base.message);
  for (const [name, make, call, code, words] of files) {
    const file = join(folder.path, name);
    await writeFile(file, make());
    const { code: got, message, mib, seconds } = await seen(call, file);
    t.is(got, `ERR_STYLECLIP_${code}`, `${name}: ${message}`);
    t.regex(message, words, name);
    t.true(mib < 64, `${name}: ${mib} MiB`);
    t.true(seconds < 10, `${name}: ${seconds} s`);
  }
});
