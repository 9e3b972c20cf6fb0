/*
 * Contact sheets, animations, tables and pages, looked at through sharp and through their text.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import sharp from 'sharp';
import {
  alphaLabel,
  animation,
  contactSheet,
  htmlTable,
  renderPage,
  sideBySide,
  textTable,
  type Picture,
} from '../dist/report/index.js';
import { wrapText } from '../dist/report/svg.js';

/** A picture of one colour. */
function plain(width: number, height: number, [r, g, b]: readonly [number, number, number]): Picture {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < data.length; i += 3) data.set([r, g, b], i);
  return { data, width, height };
}

const RED = plain(64, 64, [220, 20, 20]);
const GREEN = plain(64, 64, [20, 200, 20]);
const BLUE = plain(64, 64, [20, 20, 220]);

/** Colours of a PNG at some pixels, in hexadecimal. */
async function decode(
  png: Uint8Array,
): Promise<{ width: number; height: number; at: (x: number, y: number) => string }> {
  const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
  const at = (x: number, y: number): string =>
    data.subarray((y * info.width + x) * info.channels, (y * info.width + x) * info.channels + 3).toString('hex');
  return { width: info.width, height: info.height, at };
}

test('a contact sheet without labels holds every picture, enlarged, in its place', async (t) => {
  const sheet = await decode(await contactSheet([[RED, GREEN], [BLUE]]));
  // Margin 16, cells of 128, gap 6.
  t.is(sheet.width, 16 + 128 + 6 + 128 + 16);
  t.is(sheet.height, 16 + 128 + 6 + 128 + 16);
  t.is(sheet.at(16 + 64, 16 + 64), 'dc1414');
  t.is(sheet.at(16 + 134 + 64, 16 + 64), '14c814');
  t.is(sheet.at(16 + 64, 16 + 134 + 64), '1414dc');
  t.is(sheet.at(16 + 134 + 64, 16 + 134 + 64), 'f7f7f8', 'an absent picture leaves the paper');
});

test('labels are drawn: ink stands where the paper was', async (t) => {
  const options = { title: 'cats <&>', rowLabels: ['first'], columnLabels: ['α +3'] };
  const sheet = await decode(await contactSheet([[RED]], options));
  const inked = (x0: number, y0: number, x1: number, y1: number): boolean => {
    for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) if (sheet.at(x, y) < '606060') return true;
    return false;
  };
  t.true(inked(16, 10, 110, 40), 'title');
  t.true(inked(10, sheet.height - 100, 60, sheet.height - 60), 'row label');
  t.true(inked(sheet.width - 110, 55, sheet.width - 40, 74), 'column label');
});

test('labels are letters on a machine without any font', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'styleclip-fonts-'));
  t.teardown(async () => rm(folder, { recursive: true }));
  const config = join(folder, 'fonts.conf');
  await writeFile(config, `<?xml version="1.0"?><fontconfig><cachedir>${folder}</cachedir></fontconfig>`);
  // The box that stands for an unknown letter is as dark for an i as for a W.
  const script = `
    import sharp from 'sharp';
    import { contactSheet } from ${JSON.stringify(new URL('../dist/report/index.js', import.meta.url).href)};
    const grey = { data: new Uint8Array(64 * 64 * 3).fill(200), width: 64, height: 64 };
    for (const title of ['iiiiiiii', 'WWWWWWWW']) {
      const pixels = await sharp(await contactSheet([[grey]], { title })).greyscale().raw().toBuffer();
      console.log(pixels.filter((value) => value < 0x60).length);
    }`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    env: { ...process.env, FONTCONFIG_FILE: config },
  });
  const [thin, wide] = stdout.trim().split('\n').map(Number);
  t.true(thin! > 0 && wide! > 2 * thin!, stdout);
});

test('a contact sheet of nothing is refused', async (t) => {
  await t.throwsAsync(async () => contactSheet([[], []]), { instanceOf: RangeError });
});

test('strengths are written with a true sign', (t) => {
  t.deepEqual([-3, 0, -0, 4.1, 0.123456].map(alphaLabel), ['α −3', 'α 0', 'α 0', 'α +4.1', 'α +0.123']);
});

test('an animation plays there and back, for ever', async (t) => {
  for (const format of ['webp', 'gif'] as const) {
    const bytes = await animation([RED, GREEN, BLUE], { format, delay: 80, width: 96 });
    const meta = await sharp(bytes, { animated: true }).metadata();
    t.like(meta, { format, pages: 4, pageHeight: 96, width: 96, loop: 0 });
    t.deepEqual(meta.delay, [80, 80, 80, 80]);
    const last = await sharp(bytes, { page: 3 }).removeAlpha().raw().toBuffer();
    t.true(last[1]! > 150 && last[0]! < 80, `${format}: the frame before the first is the second again`);
  }
  await t.throwsAsync(async () => animation([], { format: 'gif' }), { instanceOf: RangeError });
  await t.throwsAsync(async () => animation([RED, plain(8, 8, [0, 0, 0])], { format: 'gif' }), {
    instanceOf: RangeError,
  });
});

test('pictures side by side keep their pixels', (t) => {
  const row = sideBySide([plain(2, 1, [1, 2, 3]), plain(2, 1, [4, 5, 6])]);
  t.deepEqual([row.width, row.height], [4, 1]);
  t.deepEqual([...row.data], [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]);
});

test('a text table aligns numbers to the right', (t) => {
  const text = textTable({
    columns: ['name', 'value'],
    rows: [
      ['a', 1.23456],
      ['bcdef', 12],
    ],
  });
  t.deepEqual(text.split('\n'), ['name   value', 'a      1.235', 'bcdef     12']);
});

test('HTML shows text as it is, never as markup', (t) => {
  const nasty = '<img src=x onerror="alert(1)">&\u0000';
  const page = renderPage({
    title: nasty,
    sections: [
      {
        heading: nasty,
        text: [nasty],
        pictures: [{ src: 'a b#.png', alt: nasty, caption: nasty }],
        tables: [{ columns: [nasty], rows: [[nasty]], caption: nasty }],
      },
    ],
  });
  t.false(page.includes('<img src=x'));
  t.false(page.includes('\u0000'));
  t.true(page.includes('src="a%20b%23.png"'));
  t.false(/(src|href)="(https?:)?\/\//.test(page), 'nothing is fetched from elsewhere');
  t.true(htmlTable({ columns: ['x'], rows: [[1]] }).includes('<td class="number">1</td>'));
});

test('long labels wrap at spaces and end in an ellipsis', (t) => {
  t.deepEqual(wrapText('a cat with a hat', 60, 10, 4), ['a cat with', 'a hat']);
  t.deepEqual(wrapText('a cat with a hat', 60, 10, 1), ['a cat wit…']);
  t.deepEqual(wrapText('unbreakable-word', 60, 10, 2), ['unbreakab…']);
});
