/*
 * The main job: "make your cat cute by typing it", from a model to a page of edited pictures.
 *
 *   1. load the embedded cats: a StyleGAN2 generator, and a CLIP that reads words and pictures
 *   2. sweep: see how every style channel moves CLIP's embedding (measured here and now, nothing of it is shipped)
 *   3. for each prompt: a direction in CLIP's space, from it one in StyleSpace, and edits of some cats at some strengths
 *   4. one picture that the generator never saw: the encoder finds its latents, and all three methods edit it
 *   5. write contact sheets and index.html
 *
 *     node examples/main-job.mjs [FOLDER]      FOLDER: out/ of the repository; a second run replaces its own files only
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Latents, StyleClip, StyleClipError } from 'styleclip';
import { onePicture } from './lib/one-picture.mjs';
import { OwnFiles } from './lib/own-files.mjs';
import { overview, page } from './lib/page.mjs';
import { Stopwatch } from './lib/stopwatch.mjs';

// `channels`: how many style channels an edit moves. Few for something local or a colour, more for a shape.
const PROMPTS = [
  { neutral: 'a cat', target: 'a cat with glasses', channels: 20 },
  { neutral: 'a cat', target: 'a cute cat', channels: 25 },
  { neutral: 'a cat', target: 'a sleepy cat', channels: 20 },
];
const ALPHAS = [-4, -2, 0, 2, 4]; // strengths: 0 is the cat as it was, a negative one gives the opposite edit
const CATS = { seed: 0, numbers: [22, 114, 219, 200, 30, 89], truncationPsi: 0.9 }; // some that wear nothing yet
const SWEEP = { images: 8, sigmas: 5, seed: 1 };
// The one picture: a drawing of 256 pixels, the first prompt, and how long each method takes.
const PICTURE = { alpha: 4, refineSteps: 50, steps: 40, mapperSteps: 100 };
const PICTURE_FILE = fileURLToPath(new URL('my-cat.png', import.meta.url));
const FACTORS = new URL('../models/cats/factors.json', import.meta.url);

const folder = process.argv[2] ?? fileURLToPath(new URL('../out/', import.meta.url));
const sheetOf = (/** @type {string} */ target) => `${target.replaceAll(' ', '-')}.png`;
const names = ['index.html', 'edited-cats.png', 'my-cat.png', ...PROMPTS.map(({ target }) => sheetOf(target))];
const files = await OwnFiles.open(folder, names);
const time = new Stopwatch();

// Ctrl-C stops the running call within one batch; nothing is written then.
const stop = new AbortController();
process.once('SIGINT', () => stop.abort());
const run = { signal: stop.signal, onProgress: time.progress };

try {
  const cats = await time.step('models', () => StyleClip.load('cats'));
  const relevance = await time.step('sweep', () => cats.sweep({ ...SWEEP, ...run }));

  const { generator, clip } = cats;
  const { seed, numbers, truncationPsi } = CATS;
  const drawn = numbers.map((first) => generator.sample({ count: 1, first, seed, truncationPsi, ...run }));
  const latents = Latents.concat(await Promise.all(drawn));

  const edits = /** @type {import('./lib/page.mjs').Edit[]} */ ([]);
  for (const { neutral, target, channels } of PROMPTS) {
    const text = await clip.direction({ neutral, target, ...run });
    const direction = relevance.direction(text, { channels });
    const edit = () => generator.edit(latents, direction, { alpha: ALPHAS, ...run });
    const pictures = await time.step(target, edit);

    const sheet = sheetOf(target);
    files.add(sheet, await pictures.contactSheet(undefined, { title: `“${neutral}” → “${target}”` }));
    edits.push({ target, direction, pictures, sheet });
  }

  const { factors } = JSON.parse(await readFile(FACTORS, 'utf8'));
  const [prompt] = PROMPTS;
  const given = { cats, relevance, picture: PICTURE_FILE, factors, settings: PICTURE, time, run };
  const story = prompt && (await onePicture({ ...given, prompt }));
  if (story) files.add('my-cat.png', story.sheet);

  files.add('edited-cats.png', await overview(edits));
  files.add(
    'index.html',
    page({
      cats,
      relevance,
      edits,
      story,
      time,
      settings: { alpha: ALPHAS, cats: CATS, sweep: SWEEP, picture: PICTURE },
    }),
  );
  await files.commit();
  await cats.close();

  console.log(`Edited cats: ${files.path('index.html')}`);
  console.log(`Main job: ${time.total.toFixed(0)} s`);
} catch (error) {
  if (stop.signal.aborted) {
    console.error('stopped; nothing was written');
    process.exitCode = 130;
  } else if (StyleClipError.is(error)) {
    console.error(`${error.message}\n${error.remedy}`);
    process.exitCode = 1;
  } else throw error;
}
