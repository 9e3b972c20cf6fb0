/*
 * The reference preset of a mapper's training, the released code's, on the cats: tiny models have pictures too small for its
 * resampling. Few steps: what they are made of is looked at, and that they go on.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { configure, StyleClip, type MapperLogLine } from '../dist/index.js';
import { testFolder } from './helpers/public-models.js';

test('the reference preset: raw pictures, Ranger, two latents a step, and its λs', async (t) => {
  configure({ threads: 1 });
  const folder = await testFolder();
  t.teardown(async () => folder.remove());
  await using cats = await StyleClip.load('cats');
  const latents = await cats.generator.sample({ count: 4, seed: 5 });
  const run = async (name: string, preset: 'default' | 'reference', steps: number) => {
    const directory = join(folder.path, name);
    const o = { target: 'a sleepy cat', preset, directory, steps, validation: latents } as const;
    await using mapper = await cats.trainMapper(o);
    const text = await readFile(join(directory, 'log.jsonl'), 'utf8');
    const log = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as MapperLogLine);
    return { training: mapper.info.training, log, levels: mapper.info.levels };
  };
  const { training, log, levels } = await run('reference', 'reference', 12);
  t.deepEqual(levels, ['coarse', 'medium', 'fine']);
  t.like(training, { clip_input: 'raw', optimizer: 'ranger', learning_rate: 0.5, batch: 2, steps: 12 });
  t.like(training, { lambda_clip: 1, lambda_l2: 0.8, lambda_id: 0.1, start: 'random' });
  t.deepEqual(
    log.map(({ event, step }) => `${event} ${step}`),
    ['validation 0', ...Array.from({ length: 12 }, (_, i) => `step ${i + 1}`), 'validation 12'],
  );
  for (const { total, clip, l2, id } of log) t.true(Math.abs(total - (clip + 0.8 * l2 + 0.1 * id)) < 1e-5 * total);
  t.true(log.at(-1)!.total < log[0]!.total, `${log[0]!.total} -> ${log.at(-1)!.total}`);
  // The same first weights and latents: only what CLIP is shown differs.
  const shown = (await run('default', 'default', 1)).log[0]!;
  t.true(Math.abs(shown.l2 - log[0]!.l2) < 1e-6 && Math.abs(shown.id - log[0]!.id) < 1e-6);
  t.true(Math.abs(shown.clip - log[0]!.clip) > 1e-3, `${shown.clip} ${log[0]!.clip}`);
  const longer = await run('reference', 'reference', 13);
  t.deepEqual(longer.log.slice(0, log.length), log);
  t.is(longer.log.length, log.length + 2);
});
