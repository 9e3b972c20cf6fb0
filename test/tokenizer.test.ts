/*
 * CLIP's tokenizer against ids that OpenAI's simple_tokenizer.py (with ftfy 6) gives. The file clip-tokenizer-part.json
 * holds the part of CLIP's vocabulary (49,408 tokens) that these texts need, with its own ids and order of merges.
 */
import { readFile } from 'node:fs/promises';
import test from 'ava';
import { StyleClipError, Tokenizer } from '../dist/index.js';
import { BYTE_CHARACTERS, byteText } from '../dist/tokenizer/bytes.js';
import { BytePairs } from '../dist/tokenizer/bpe.js';
import { cleanText } from '../dist/tokenizer/clean.js';
import { byteTokenizer } from './helpers/tiny-models.js';

const read = async (name: string): Promise<string> =>
  readFile(new URL(`../test/data/${name}`, import.meta.url), 'utf8');
const json = await read('clip-tokenizer-part.json');
const clip = Tokenizer.parse(json);
const golden = JSON.parse(await read('clip-tokens.json')) as { text: string; ids: number[] }[];

for (const { text, ids } of golden) {
  test(`ids of ${JSON.stringify(text)}`, (t) => t.deepEqual(clip.encode(text).ids, ids));
}

// From the reference notes, B.2 and H.4, so that a slip in the data file cannot hide.
test('ids that are known from elsewhere', (t) => {
  t.deepEqual(clip.encode('a person with purple hair').ids, [49406, 320, 2533, 593, 5496, 2225, 49407]);
  t.deepEqual(clip.encode('1234 abc').ids, [49406, 272, 273, 274, 275, 5334, 49407]);
  t.deepEqual(clip.encode('').ids, [49406, 49407]);
});

test('the byte table', (t) => {
  t.is(BYTE_CHARACTERS.length, 256);
  t.is(new Set(BYTE_CHARACTERS).size, 256);
  t.is(BYTE_CHARACTERS[0x21], '!');
  t.is(BYTE_CHARACTERS[0], '\u0100');
  t.is(BYTE_CHARACTERS[0x20], '\u0120');
  t.is(BYTE_CHARACTERS[0xad], '\u0143');
  t.is(byteText('é'), 'Ã©');
});

test('the earliest merge wins, not the leftmost', (t) => {
  const pairs = new BytePairs([
    ['b', 'c'],
    ['a', 'b'],
    ['a', 'bc'],
    ['bc', 'd</w>'],
  ]);
  t.deepEqual(pairs.split('abcd', '</w>'), ['abc', 'd</w>']);
  t.deepEqual(pairs.split('xbcd', '</w>'), ['x', 'bcd</w>']);
  t.deepEqual(pairs.split('a', '</w>'), ['a</w>']);
});

test('cleaning', (t) => {
  t.is(cleanText('  A\t B\n'), 'a b');
  t.is(cleanText('&amp;lt;b&amp;gt;'), '<b>');
  t.is(cleanText('&#65;&#x42;&#6;&#0;'), 'ab\ufffd');
  t.is(cleanText('\ud800x'), '\ufffdx');
});

test('special tokens typed into a prompt are themselves', (t) => {
  t.deepEqual(clip.encode('a <|endoftext|> <|startoftext|>').ids, [49406, 320, 49407, 49406, 49407]);
});

test('a batch is padded with zeros; a long text is refused, or cut with its end token kept', (t) => {
  const { data, shape, unknownWords } = clip.encodeBatch(['a photo of a face', ''], 8, false);
  t.deepEqual(shape, [2, 8]);
  t.deepEqual([...data], [49406, 320, 1125, 539, 320, 1710, 49407, 0, 49406, 49407, 0, 0, 0, 0, 0, 0]);
  t.deepEqual(unknownWords, []);
  const e = t.throws(() => clip.encodeBatch(['a photo of a face'], 4, false), { instanceOf: StyleClipError });
  t.is(e?.code, 'ERR_STYLECLIP_RANGE');
  t.regex(e?.message ?? '', /7 tokens; the model takes 4/);
  t.deepEqual([...clip.encodeBatch(['a photo of a face'], 4, true).data], [49406, 320, 1125, 49407]);
});

test('words that a vocabulary does not hold are named', (t) => {
  const value = JSON.parse(json) as { model: { vocab: Record<string, number> } };
  const known = clip.encode('a photo of a mohawk');
  t.deepEqual(known.unknownWords, []);
  // A small vocabulary was taught whole words: pieces are not enough.
  t.deepEqual(clip.encode('a phaoto, a zebra; a zebra').unknownWords, ['phaoto', 'zebra']);
  // Without the byte ½ the word has no ids at all; the rest of the text keeps its own.
  delete value.model.vocab['½</w>'];
  delete value.model.vocab['Â½</w>'];
  delete value.model.vocab['Â'];
  const { ids, unknownWords } = Tokenizer.parse(JSON.stringify(value)).encode('a ½ a');
  t.deepEqual(unknownWords, ['½']);
  t.deepEqual(ids, [49406, 320, 320, 49407]);
});

test('merges as pairs read like merges as texts', (t) => {
  const value = JSON.parse(json) as { model: { merges: (string | string[])[] } };
  value.model.merges = value.model.merges.map((m) => (m as string).split(' '));
  t.deepEqual(Tokenizer.parse(JSON.stringify(value)).encode('mohawk hairstyle').ids, [49406, 34942, 22324, 49407]);
});

test('a tokenizer of single bytes', (t) => {
  const bytes = Tokenizer.parse(byteTokenizer());
  t.is(bytes.size, 514);
  // Its ids are the bytes themselves; 256 more where a byte ends a word.
  t.deepEqual(bytes.encode('cat').ids, [512, 99, 97, 256 + 116, 513]);
});

test('files that are no such tokenizer', (t) => {
  const value = JSON.parse(json) as { model: Record<string, unknown>; added_tokens: unknown[] };
  const cases: [string, string][] = [
    ['{', 'FILE_DAMAGED'],
    ['[]', 'FILE_DAMAGED'],
    ['{}', 'FORMAT_UNKNOWN'],
    [JSON.stringify({ model: { ...value.model, type: 'Unigram' } }), 'FORMAT_UNKNOWN'],
    [JSON.stringify({ model: { ...value.model, vocab: [] } }), 'FORMAT_UNKNOWN'],
    [JSON.stringify({ model: { ...value.model, vocab: { a: -1 } } }), 'FILE_DAMAGED'],
    [JSON.stringify({ model: { ...value.model, merges: ['a b c'] } }), 'FILE_DAMAGED'],
    [JSON.stringify({ model: { ...value.model, vocab: { a: 1 } } }), 'FORMAT_UNKNOWN'],
  ];
  for (const [text, wanted] of cases) {
    const e = t.throws(() => Tokenizer.parse(text), { instanceOf: StyleClipError });
    t.is(e?.code, `ERR_STYLECLIP_${wanted}`, text.slice(0, 40));
  }
});
