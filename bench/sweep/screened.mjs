/*
 * What `npm run bench -- sweep` runs to time screened sweeps through the package: the wall time of each prompt's, statistics
 * apart, and beside it that of an exact sweep of all channels. A machine's speed changes within minutes, so a short exact
 * sweep stands before and after each prompt's; its time is linear in pictures.
 *
 *     node screened.mjs GENERATOR CLIP THREADS SAMPLES KEEP IMAGES EXACT_IMAGES PROMPT…
 */
const [generator = '', clip = '', threads, samples, keep, images, exactImages, ...prompts] = process.argv.slice(2);
if (Number(threads) > 0) process.env['STYLECLIP_THREADS'] = threads;
const { StyleClip } = await import('../../dist/index.js');
const system = await StyleClip.load({ generator, clip, device: 'cpu' });
try {
  const statistics = await system.generator.statistics({ samples: Number(samples), seed: 0 });
  /** @param {() => Promise<{ length: number }>} work */
  const timed = async (work) => {
    const start = performance.now();
    const { length } = await work();
    return { length, seconds: (performance.now() - start) / 1000 };
  };
  const exact = async () => {
    const { seconds } = await timed(() => system.sweep({ statistics, images: Number(exactImages) }));
    return (seconds / Number(exactImages)) * Number(images);
  };
  await system.sweep({ statistics, images: 1 }); // the first one is slower
  const found = [];
  let before = await exact();
  for (const target of prompts) {
    const text = await system.clip.direction({ neutral: 'a cat', target });
    const { length, seconds } = await timed(() =>
      system.screen(text, { statistics, images: Number(images), channels: Number(keep) }),
    );
    const after = await exact();
    const exactSeconds = (before + after) / 2;
    found.push({ target, survivors: length, seconds, exactSeconds, timesAsFast: exactSeconds / seconds });
    before = after;
  }
  process.stdout.write(JSON.stringify(found));
} finally {
  await system.close();
}
