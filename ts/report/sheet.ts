/*
 * Contact sheets: a table of pictures with a label for each row (which cat, which prompt) and each column (which
 * strength), drawn by sharp. Small pictures are enlarged, so that 64-pixel cats can be looked at.
 */
import sharp from 'sharp';
import { labelFonts } from './fonts.js';
import { textElement, textWidth, wrapText } from './svg.js';

/** One 8-bit RGB picture: `data` has height × width × 3 bytes, rows first. */
export interface Picture {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** How a contact sheet looks. */
export interface SheetOptions {
  /** Above the whole sheet. */
  title?: string;
  /** One for each column, centred above it. */
  columnLabels?: readonly string[];
  /** One for each row, left of it. */
  rowLabels?: readonly string[];
  /** Width of one picture in the sheet, in pixels (16 to 4096); default: its own, at least 128. */
  cell?: number;
}

const PAPER = '#f7f7f8';
const INK = '#24262b';
const FAINT = '#5b606b';
const FONT = 15;
const TITLE_FONT = 19;
const LINE = 20;
const MARGIN = 16;
const GAP = 6;
/** A row label is wrapped at this width. */
const LABEL_WIDTH = 150;
const SMALLEST_CELL = 128;

/** α as it is written in labels: a true minus sign, a plus sign for positive strengths, at most three digits. */
export function alphaLabel(alpha: number): string {
  const rounded = Number(Math.abs(alpha).toPrecision(3));
  if (rounded === 0) return 'α 0';
  return `α ${alpha < 0 ? '−' : '+'}${rounded}`;
}

interface Geometry {
  columns: number;
  cell: { width: number; height: number };
  left: number;
  top: number;
  width: number;
  height: number;
}

function geometry(rows: readonly (readonly Picture[])[], options: SheetOptions): Geometry {
  const first = rows.find((row) => row.length > 0)?.[0];
  if (first === undefined) throw new RangeError('a contact sheet needs at least one picture');
  const columns = Math.max(...rows.map((row) => row.length));
  const width = options.cell ?? Math.max(SMALLEST_CELL, first.width);
  const cell = { width, height: Math.max(1, Math.round((width * first.height) / first.width)) };
  const labels = options.rowLabels ?? [];
  const widest = Math.max(0, ...labels.map((label) => textWidth(label, FONT)));
  const left = MARGIN + (labels.length > 0 ? Math.min(LABEL_WIDTH, widest) + GAP * 2 : 0);
  const columnLines = (options.columnLabels?.length ?? 0) > 0 ? LINE + GAP : 0;
  const top = MARGIN + (options.title === undefined ? 0 : LINE + MARGIN) + columnLines;
  const inner = columns * (cell.width + GAP) - GAP;
  const title = options.title === undefined ? 0 : textWidth(options.title, TITLE_FONT) + MARGIN * 2;
  return {
    columns,
    cell,
    left,
    top,
    width: Math.max(left + inner + MARGIN, title),
    height: top + rows.length * (cell.height + GAP) - GAP + MARGIN,
  };
}

/** Paper and every label. */
function background(g: Geometry, options: SheetOptions): Buffer {
  const parts = [`<rect width="${g.width}" height="${g.height}" fill="${PAPER}"/>`];
  if (options.title !== undefined) {
    parts.push(
      textElement(options.title, { x: MARGIN, y: MARGIN + LINE - 3, size: TITLE_FONT, colour: INK, bold: true }),
    );
  }
  for (const [column, label] of (options.columnLabels ?? []).slice(0, g.columns).entries()) {
    const x = g.left + column * (g.cell.width + GAP) + g.cell.width / 2;
    const line = wrapText(label, g.cell.width, FONT, 1)[0] ?? '';
    parts.push(textElement(line, { x, y: g.top - GAP * 1.5, size: FONT, colour: FAINT, anchor: 'middle' }));
  }
  for (const [row, label] of (options.rowLabels ?? []).entries()) {
    const lines = wrapText(label, g.left - MARGIN - GAP, FONT, Math.max(1, Math.floor(g.cell.height / LINE)));
    const middle = g.top + row * (g.cell.height + GAP) + g.cell.height / 2;
    for (const [i, line] of lines.entries()) {
      const y = middle + (i - (lines.length - 1) / 2) * LINE + FONT * 0.36;
      parts.push(textElement(line, { x: MARGIN, y, size: FONT, colour: INK }));
    }
  }
  return Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${g.width}" height="${g.height}">${parts.join('')}</svg>`,
  );
}

/** One picture, enlarged or reduced to the cell, as raw RGB. */
async function fitted(picture: Picture, cell: { width: number; height: number }): Promise<Buffer> {
  const image = sharp(picture.data, { raw: { width: picture.width, height: picture.height, channels: 3 } });
  return image.resize(cell.width, cell.height, { fit: 'fill', kernel: 'cubic' }).raw().toBuffer();
}

/**
 * Draws a table of pictures.
 *
 * @param rows pictures, one list for each row; rows may differ in length, pictures in size (each is fitted to the cell)
 * @returns the sheet as a PNG file's bytes
 * @throws RangeError when there is no picture at all
 */
export async function contactSheet(rows: readonly (readonly Picture[])[], options: SheetOptions = {}): Promise<Buffer> {
  await labelFonts();
  const g = geometry(rows, options);
  const places = rows.flatMap((row, y) => row.map((picture, x) => ({ picture, x, y })));
  const layers = await Promise.all(
    places.map(async ({ picture, x, y }) => ({
      input: await fitted(picture, g.cell),
      raw: { width: g.cell.width, height: g.cell.height, channels: 3 as const },
      left: g.left + x * (g.cell.width + GAP),
      top: g.top + y * (g.cell.height + GAP),
    })),
  );
  return sharp(background(g, options)).composite(layers).removeAlpha().png({ compressionLevel: 9 }).toBuffer();
}
