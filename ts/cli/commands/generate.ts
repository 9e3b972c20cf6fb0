/*
 * `styleclip generate`: draws latents from a seed and renders them.
 */
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { loadGenerator } from '../models.js';
import type { Outcome } from '../output.js';
import * as parse from '../parse.js';
import type { Session, Start } from '../session.js';
import type { CommonFlags } from '../settings.js';
import { picturePath, pictureTarget, targetFile, withSuffix } from '../target.js';

interface Flags extends CommonFlags {
  count: number;
  truncationPsi: number;
  space: 'z' | 'w' | 'w_plus' | 's';
  grid?: true;
}

/** Pictures rendered and written at a time, so that memory does not grow with --count. */
const CHUNK = 64;

export function generateCommand(command: Command, start: Start): Command {
  return command
    .name('generate')
    .description('render pictures from a seed, and keep their latents')
    .addOption(new Option('--count <n>', 'how many').argParser(parse.integerWithin(1, 100_000)).default(8))
    .addOption(
      new Option('--truncation-psi <psi>', 'pulls latents towards the mean: 0 the mean itself, 1 not at all')
        .argParser(parse.numberWithin(-2, 2))
        .default(0.7),
    )
    .addOption(
      new Option('--space <space>', 'space of the latents written: z, w, w_plus, s')
        .argParser(parse.oneOf('z', 'w', 'w_plus', 's'))
        .default('w_plus'),
    )
    .option('--grid', 'one contact sheet instead of one file a picture')
    .action(async (flags: Flags) => start('generate', flags, (session) => generate(session, flags)));
}

async function generate(session: Session, flags: Flags): Promise<Outcome> {
  const force = flags.force === true;
  const out = flags.out ?? (flags.grid === true ? 'generated.png' : 'generated');
  const target = await pictureTarget(out, flags.grid === true || flags.count === 1, force);
  const latentsFile =
    'file' in target ? withSuffix(target.file, '.safetensors') : join(target.folder, 'latents.safetensors');
  await targetFile(latentsFile, force);
  await using generator = await loadGenerator(session);
  const sampling = { count: flags.count, seed: flags.seed, truncationPsi: flags.truncationPsi, ...session.run };
  const latents = await generator.sample({ ...sampling, space: flags.space });
  // z is truncated on its way to w; latents of the other spaces carry the truncation already.
  const codes = flags.space === 'z' ? await generator.sample({ ...sampling, space: 'w_plus' }) : latents;
  const images: string[] = [];
  if (flags.grid === true) {
    const pictures = await generator.synthesize(codes, session.run);
    const file = picturePath(target, 'grid.png');
    await pictures.contactSheet(file);
    images.push(file);
  } else {
    for (let first = 0; first < codes.length; first += CHUNK) {
      const pictures = await generator.synthesize(codes.slice(first, first + CHUNK), session.run);
      for (const [i, picture] of [...pictures].entries()) {
        session.signal.throwIfAborted();
        const file = picturePath(target, `${String(first + i).padStart(4, '0')}.png`);
        await picture.png(file);
        images.push(file);
      }
    }
  }
  await latents.save(latentsFile);
  session.output.note(`latents: ${latentsFile}`);
  return { text: images, result: { images, latents: latentsFile } };
}
