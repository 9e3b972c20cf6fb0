/*
 * The embedded cats, found without a path: the models load, fit each other, and their CLIP names the words that it was
 * never taught.
 */
import { existsSync } from 'node:fs';
import test from 'ava';
import { configure, IMAGENET_TEMPLATES, Relevance, StyleClip } from '../dist/index.js';

configure({ threads: 1 });
const cats = await StyleClip.load();
test.after.always(async () => cats.close());

test('they are StyleGAN2 and CLIP at 64 px, of one width', (t) => {
  t.is(cats.generator.info.imageSize, 64);
  t.is(cats.clip.info.imageSize, 64);
  t.is(cats.generator.layout.styleChannels.conv, 640);
  t.is(cats.clip.tokenizer.size, cats.clip.info.vocabularySize);
  t.is(cats.clip.tokenizer.end, cats.clip.info.vocabularySize - 1, 'the end token is the largest id, where CLIP reads');
  t.regex(cats.directory ?? '', /models.cats$/);
});

test('the templates and the words of cats are known; others are named', async (t) => {
  const { unknownWords } = cats.clip.tokenize(IMAGENET_TEMPLATES.map((template) => template.replace('{}', 'cat')));
  t.deepEqual(unknownWords, []);
  const text = await cats.clip.direction({ neutral: 'a cat', target: 'a cat with glasses' });
  t.deepEqual(text.unknownWords, []);
  t.true(text.length > 0.1);
  const strange = await cats.clip.direction({ neutral: 'a cat', target: 'a cat with a bazooka' });
  t.deepEqual(strange.unknownWords, ['bazooka']);
});

test('CLIP tells pictures of cats apart by a text', async (t) => {
  const texts = ['a cat with glasses', 'a cat without glasses'];
  const words = await cats.clip.encodeText(texts, { normalize: true });
  t.deepEqual(words.shape, [2, cats.clip.info.embeddingDim]);
  const images = await cats.generator.synthesize(await cats.generator.sample({ count: 8, seed: 1 }));
  const seen = await cats.clip.encodeImages(images, { normalize: true });
  const d = cats.clip.info.embeddingDim;
  const cosine = (image: number, text: number): number =>
    seen.data.subarray(image * d, (image + 1) * d).reduce((sum, v, i) => sum + v * words.data[text * d + i]!, 0);
  const leaning = Array.from({ length: 8 }, (_, i) => cosine(i, 0) - cosine(i, 1));
  t.true(Math.max(...leaning) > Math.min(...leaning) + 0.05, 'pictures differ in what they look like to CLIP');
});

test('a relevance that comes with them fits them', async (t) => {
  const relevance = await cats.relevance();
  t.is(relevance instanceof Relevance, existsSync(`${cats.directory}/relevance.safetensors`));
  if (relevance !== undefined) t.is(relevance.dim, cats.clip.info.embeddingDim);
});
