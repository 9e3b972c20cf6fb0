/*
 * What `npm run bench -- sweep` runs to time screened sweeps through the package: the wall time of each prompt's, statistics
 * apart.
 *
 *     node screened.mjs GENERATOR CLIP THREADS SAMPLES KEEP IMAGES PROMPT…
 */
const [generator = '', clip = '', threads, samples, keep, images, ...prompts] = process.argv.slice(2);
if (Number(threads) > 0) process.env['STYLECLIP_THREADS'] = threads;
const { StyleClip } = await import('../../dist/index.js');
const system = await StyleClip.load({ generator, clip, device: 'cpu' });
try {
  const statistics = await system.generator.statistics({ samples: Number(samples), seed: 0 });
  const found = [];
  for (const target of prompts) {
    const text = await system.clip.direction({ neutral: 'a cat', target });
    const start = performance.now();
    const screened = await system.screen(text, { statistics, images: Number(images), channels: Number(keep) });
    found.push({ target, survivors: screened.length, seconds: (performance.now() - start) / 1000 });
  }
  process.stdout.write(JSON.stringify(found));
} finally {
  await system.close();
}
