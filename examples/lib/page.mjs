/*
 * What the main job shows: one sheet with every edit beside the cats as they were, and a page with everything.
 */
import { cpus } from 'node:os';
import { versions } from 'styleclip';
import { alphaLabel, contactSheet, renderPage } from 'styleclip/report';

/** The strength at which the overview shows an edit: the strongest. */
const strongest = (pictures) => pictures.alphas.length - 1;

/**
 * A row for the cats as they were and one for each edit at its full strength, as PNG.
 *
 * @param {{ target: string, pictures: import('styleclip').EditBatch }[]} edits
 */
export async function overview(edits) {
  const { images, alphas } = edits[0].pictures;
  const before = images.map((row) => row[alphas.indexOf(0)]);
  const after = edits.map(({ pictures }) => pictures.images.map((row) => row[strongest(pictures)]));
  return contactSheet([before, ...after], { rowLabels: ['a cat', ...edits.map(({ target }) => target)] });
}

/** Name and value of every setting, as rows of a table. */
function settingRows(settings) {
  return Object.entries(settings).flatMap(([name, value]) =>
    typeof value === 'object' && !Array.isArray(value)
      ? Object.entries(value).map(([key, inner]) => [`${name.toLowerCase()}: ${key}`, inner])
      : [[name.toLowerCase(), Array.isArray(value) ? value.join(', ') : value]],
  );
}

/**
 * The page.
 *
 * @param {object} job
 * @param {import('styleclip').StyleClip} job.cats
 * @param {import('styleclip').Relevance} job.relevance
 * @param {{ target: string, sheet: string, direction: import('styleclip').GlobalDirection, pictures: import('styleclip').EditBatch }[]} job.edits
 * @param {import('./stopwatch.mjs').Stopwatch} job.time
 * @param {Record<string, unknown>} job.settings
 */
export function page({ cats, relevance, edits, time, settings }) {
  const { rendered, seconds } = relevance.meta;
  const { styleclip, torch } = versions();
  const sections = edits.map(({ target, sheet, direction }) => ({
    heading: target,
    pictures: [{ src: sheet, alt: `cats edited towards “${target}”, one row a cat, one column a strength` }],
    tables: [
      {
        caption: `The style channels that move most, of ${direction.channels}; |relevance| ≥ ${direction.beta.toFixed(3)}`,
        columns: ['channel', 'relevance', 'ΔS at α = 1'],
        rows: direction.top(8).map(({ name, relevance: r, delta }) => [name, r, delta]),
      },
    ],
  }));
  return renderPage({
    title: 'Make your cat cute by typing it',
    intro: [
      `Every picture below was drawn by the embedded generator and edited by text alone, on this machine. A sweep over ` +
        `${relevance.length} style channels (${rendered.toLocaleString('en')} pictures) found what each channel does to ` +
        `CLIP's view of a picture; a prompt then picks the channels that move a picture its way.`,
      'The models are small ones of drawn cats, trained for this package: what they show is no evidence about photographs.',
    ],
    sections: [
      {
        heading: 'At a glance',
        pictures: [{ src: 'edited-cats.png', alt: 'cats as they were, and each edit at its full strength' }],
      },
      ...sections,
      {
        heading: 'Timings and settings',
        tables: [
          {
            columns: ['step', 'seconds'],
            rows: [...time.steps, ['sweep alone, pictures a second', rendered / seconds]],
          },
          { columns: ['setting', 'value'], rows: settingRows(settings) },
        ],
        text: [
          `${cats.generator.info.device}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}, ` +
            `libtorch ${torch}, Node.js ${process.versions.node}.`,
        ],
      },
    ],
    footer: `styleclip ${styleclip}, ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`,
  });
}
