/*
 * The sweep through the package, as a program that takes turns (turns.mjs): what Node and the binding cost beside the same
 * sweep in C++ alone. Arguments: generator, CLIP, threads, samples of the statistics.
 */
import { createInterface } from 'node:readline';

const { StyleClip, configure } = await import('../../dist/index.js');
const [generator, clip, threads, samples] = process.argv.slice(2);
if (Number(threads) > 0) configure({ threads: Number(threads) });
const models = await StyleClip.load({ generator, clip }, { device: 'cpu' });
const statistics = await models.generator.statistics({ samples: Number(samples) });
process.stdout.write('{"ready": true}\n');

for await (const line of createInterface({ input: process.stdin })) {
  const { images, layers } = JSON.parse(line);
  const start = performance.now();
  const relevance = await models.sweep({ images, layers, statistics, method: 'exact' });
  const seconds = (performance.now() - start) / 1000;
  process.stdout.write(`${JSON.stringify({ seconds, images: 2 * images * relevance.channels.length })}\n`);
}
await models.close();
