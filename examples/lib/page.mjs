/*
 * What the main job shows: one sheet with every edit beside the cats as they were, and a page with everything.
 */
import { cpus } from 'node:os';
import { Images, versions } from 'styleclip';
import { renderPage } from 'styleclip/report';

/**
 * @typedef {object} Edit
 * @property {string} target
 * @property {string} sheet file name of its contact sheet
 * @property {import('styleclip').GlobalDirection} direction
 * @property {import('styleclip').EditBatch} pictures
 */

/** All pictures of one strength. @type {(pictures: import('styleclip').EditBatch, alpha: number) => Images[]} */
const atStrength = (pictures, alpha) => [...pictures].filter((one) => one.alpha === alpha).map((one) => one.image);

/**
 * A row for the cats as they were and one for each edit at its full strength, as PNG.
 *
 * @param {readonly Edit[]} edits
 */
export async function overview(edits) {
  const before = edits.slice(0, 1).flatMap(({ pictures }) => atStrength(pictures, 0));
  const after = edits.flatMap(({ pictures }) => atStrength(pictures, Math.max(...pictures.alphas)));
  const rowLabels = ['a cat', ...edits.map(({ target }) => target)];
  return Images.concat([...before, ...after]).contactSheet(undefined, { columns: before.length, rowLabels });
}

/**
 * Every setting in one row: `{ sweep: { images: 12 } }` becomes `['sweep images', 12]`.
 *
 * @param {Record<string, unknown>} settings
 * @returns {(string | number)[][]}
 */
function settingRows(settings) {
  return Object.entries(settings).flatMap(([name, value]) => {
    if (typeof value === 'number' || typeof value === 'string') return [[name, value]];
    if (Array.isArray(value)) return [[name, value.join(', ')]];
    return settingRows(
      Object.fromEntries(Object.entries(value ?? {}).map(([key, inner]) => [`${name} ${key}`, inner])),
    );
  });
}

/** @param {import('./one-picture.mjs').Story} story */
function storySection({ table }) {
  return {
    heading: 'A picture of your own',
    text: [
      'A drawing that the generator never saw. The encoder finds latents that give it, some steps of refinement bring them ' +
        'nearer, and all three methods of StyleCLIP edit these latents by the same prompt.',
    ],
    pictures: [{ src: 'my-cat.png', alt: 'the drawing, its inversion, and three edits of it, side by side' }],
    tables: [{ caption: 'Each edit beside the refined inversion', ...table }],
  };
}

/**
 * The page.
 *
 * @param {object} job
 * @param {import('styleclip').StyleClip} job.cats
 * @param {import('styleclip').Relevance} job.relevance
 * @param {readonly Edit[]} job.edits
 * @param {import('./one-picture.mjs').Story | undefined} job.story
 * @param {import('./stopwatch.mjs').Stopwatch} job.time
 * @param {Record<string, unknown>} job.settings
 */
export function page({ cats, relevance, edits, story, time, settings }) {
  const { rendered, seconds } = relevance.meta;
  const { styleclip, torch } = versions();
  const sections = edits.map(({ target, sheet, direction }) => ({
    heading: target,
    pictures: [{ src: sheet, alt: `cats edited towards “${target}”: a row for each cat, a column for each strength` }],
    tables: [
      {
        caption: `The most relevant of the ${direction.channels} style channels that it moves`,
        columns: ['channel', 'relevance', 'ΔS at α = 1'],
        rows: direction.top(8).map((channel) => [channel.name, channel.relevance, channel.delta]),
      },
    ],
  }));
  return renderPage({
    title: 'Make your cat cute by typing it',
    intro: [
      'Every picture on this page was drawn by the embedded generator and edited by text alone, on this machine. ' +
        `A sweep over ${relevance.length} style channels (${rendered.toLocaleString('en')} pictures) found what each ` +
        "of them does to CLIP's view of a picture; a prompt then picks the channels that move a picture its way.",
      'The models are small ones, trained on drawn cats for this package: this is no evidence about photographs.',
    ],
    sections: [
      {
        heading: 'At a glance',
        pictures: [{ src: 'edited-cats.png', alt: 'the cats as they were, and each edit at its full strength' }],
      },
      ...sections,
      ...(story === undefined ? [] : [storySection(story)]),
      {
        heading: 'Timings and settings',
        text: [
          `Models on ${cats.generator.info.device} (${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}), ` +
            `libtorch ${torch}, Node.js ${process.versions.node}. The sweep rendered and embedded ` +
            `${Math.round(rendered / seconds)} pictures a second.`,
        ],
        tables: [
          { columns: ['step', 'seconds'], rows: time.steps },
          { columns: ['setting', 'value'], rows: settingRows(settings) },
        ],
      },
    ],
    footer: `styleclip ${styleclip}, ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`,
  });
}
