/*
 * What is each method of the sweep worth on the cats? The time of a whole sweep, and how far its rows, relevances and
 * selected channels are from those of exact/float32 on the same sample pictures, all in one run. docs/methods.md says what
 * the columns mean.
 *
 *     --images 100    sample pictures
 *     --channels 20   that a screened direction keeps
 */
import { median } from '../sweep/numbers.mjs';

const SAMPLES = 20_000;
export const PROMPTS = [
  ...['a cat with a hat', 'a black cat', 'a cat with big eyes', 'a cat with glasses', 'a fat cat'],
  ...['a cat with a bow tie', 'a striped cat', 'a cat with blue eyes', 'a cat with its tongue out', 'a sleepy cat'],
];
/** @type {{ name: string, options: import('../../dist/index.js').SweepOptions & { shard?: undefined } }[]} */
const CONTENDERS = [
  { name: 'exact/bfloat16', options: { precision: 'bfloat16' } },
  { name: 'adaptive, cosine 0.95', options: { method: 'adaptive', cosine: 0.95 } },
  { name: 'adaptive, cosine 0.99', options: { method: 'adaptive', cosine: 0.99 } },
  { name: 'gradient', options: { method: 'gradient' } },
  { name: 'stop-at 32', options: { method: 'stop-at', stopAt: 32 } },
  { name: 'stop-at 16', options: { method: 'stop-at', stopAt: 16 } },
];

export const describe = 'every method of the sweep on the cats: time, and agreement with exact/float32';

/**
 * The places of the `count` channels of largest |r|.
 * @param {import('../../dist/index.js').Relevance} relevance
 * @param {import('../../dist/index.js').TextDirection} text
 * @param {number} count
 */
function best(relevance, text, count) {
  const { rows, dim, channels } = relevance;
  const r = Array.from(channels, (channel, i) => {
    let sum = 0;
    for (let k = 0; k < dim; ++k) sum += (rows[i * dim + k] ?? 0) * (text.direction[k] ?? 0);
    return { channel, r: Math.abs(sum) };
  });
  return new Set(
    r
      .sort((a, b) => b.r - a.r)
      .slice(0, count)
      .map((one) => one.channel),
  );
}

/** @param {Record<string, string>} options */
export async function run(options) {
  for (const name of Object.keys(options)) {
    if (!['images', 'channels'].includes(name)) throw new Error(`there is no option --${name} of methods`);
  }
  const { StyleClip } = await import('../../dist/index.js');
  const [images, keep] = [Number(options['images'] ?? 100), Number(options['channels'] ?? 20)];
  const system = await StyleClip.load();
  try {
    return await measure(system, images, keep);
  } finally {
    await system.close();
  }
}

/**
 * @param {import('../../dist/index.js').StyleClip} system
 * @param {number} images
 * @param {number} keep
 */
async function measure(system, images, keep) {
  const statistics = await system.generator.statistics({ samples: SAMPLES, seed: 0 });
  const base = { images, statistics, check: 0 };
  const texts = [];
  for (const target of PROMPTS) texts.push(await system.clip.direction({ neutral: 'a cat', target }));
  const exact = await system.sweep(base);
  const { seconds, rendered } = exact.meta;
  const methods = [];
  for (const { name, options: own } of CONTENDERS) {
    const found = await system.sweep({ ...base, ...own });
    const { cosine, magnitude, directions } = found.agreement(exact, { directions: texts });
    /** @param {'pearson' | 'spearman' | 'recall'} key */
    const lowest = (key) => Math.min(...directions.map((one) => one[key]));
    methods.push({
      name,
      seconds: found.meta.seconds,
      timesAsFast: seconds / found.meta.seconds,
      rendered: found.meta.rendered,
      ...{ cosine, magnitude },
      ...{ pearson: lowest('pearson'), spearman: lowest('spearman'), recall: lowest('recall') },
      recallMean: directions.reduce((sum, one) => sum + one.recall, 0) / directions.length,
    });
  }
  const screened = [];
  for (const text of texts) {
    const found = await system.screen(text, { images, statistics, channels: keep });
    const wanted = best(exact, text, keep);
    const got = best(found, text, keep);
    screened.push({
      target: text.target,
      candidates: found.meta.screened?.candidates ?? 0,
      survivors: found.length,
      rendered: found.meta.rendered,
      seconds: found.meta.seconds,
      recall: [...wanted].filter((channel) => got.has(channel)).length / wanted.size,
      cosineMin: found.agreement(exact).cosine.min,
    });
  }
  const spent = median(screened.map((one) => one.seconds));
  return {
    sweep: { images, channels: exact.length },
    exact: { seconds, rendered, imagesPerSecond: rendered / seconds },
    methods,
    screened: {
      keep,
      candidates: median(screened.map((one) => one.candidates)),
      survivors: median(screened.map((one) => one.survivors)),
      seconds: spent,
      timesAsFast: seconds / spent,
      recall: screened.reduce((sum, one) => sum + one.recall, 0) / screened.length,
      recallMin: Math.min(...screened.map((one) => one.recall)),
      prompts: screened,
    },
  };
}

/** @param {Awaited<ReturnType<typeof run>>} result */
export function show({ sweep, exact, methods, screened }) {
  const lines = methods.map(
    (m) =>
      `  ${m.name.padEnd(22)} ${m.timesAsFast.toFixed(2).padStart(6)} x   cosine ${m.cosine.median.toFixed(4)} median, ` +
      `${m.cosine.p10.toFixed(4)} 10 %; Spearman ${m.spearman.toFixed(3)}, recall ${m.recallMean.toFixed(3)}`,
  );
  return [
    `${sweep.channels} channels x ${sweep.images} pictures: exact/float32 ${exact.seconds.toFixed(1)} s, ${exact.imagesPerSecond.toFixed(0)} pictures/s`,
    ...lines,
    `  screened, ${screened.survivors} survivors ${screened.timesAsFast.toFixed(1)} x; the ${screened.keep} channels wanted: recall ${screened.recall.toFixed(3)}`,
    '',
  ].join('\n');
}
