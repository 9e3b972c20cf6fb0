/*
 * The font of labels comes with the package, so that a contact sheet looks the same everywhere; a slim container has no font
 * at all, and would print boxes. sharp hands a font file to fontconfig when it draws text with it once, and from then on
 * SVG text finds it too.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import sharp from 'sharp';

const FILES = ['dejavu-fonts-ttf/ttf/DejaVuSans.ttf', 'dejavu-fonts-ttf/ttf/DejaVuSans-Bold.ttf'];

let ready: Promise<void> | undefined;

/** Makes the font known to sharp, once for each process; where its files are missing (a bundled program), nothing happens. */
export async function labelFonts(): Promise<void> {
  ready ??= load();
  return ready;
}

async function load(): Promise<void> {
  const { resolve } = createRequire(import.meta.url);
  for (const name of FILES) {
    const fontfile = find(() => resolve(name));
    if (fontfile === undefined) continue;
    await sharp({ text: { text: 'x', font: 'DejaVu Sans', fontfile } })
      .raw()
      .toBuffer();
  }
}

/** A path that exists, or nothing. */
function find(path: () => string): string | undefined {
  try {
    const found = path();
    return existsSync(found) ? found : undefined;
  } catch {
    return undefined;
  }
}
