/*
 * Text as SVG, for the labels of contact sheets: sharp draws it, with the font that fonts.ts brings. Text widths are
 * estimated, not measured (a letter that the font lacks comes from the machine's), so labels get a little more room than
 * they need.
 */

/** The package's own font, and families that look alike for where it is not to be had. */
export const FONT_FAMILY = "'DejaVu Sans','Liberation Sans','Noto Sans',Helvetica,Arial,sans-serif";

/** Average advance of a character, in units of the font size; DejaVu Sans, the widest of the list, has about 0.58. */
const ADVANCE = 0.6;

/** `text` as XML character data: markup escaped, control characters (not allowed in XML) replaced by spaces. */
export function escapeXml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/\p{Cc}/gu, ' ').replace(/[&<>"']/g, (c) => entities[c] ?? c);
}

const segmenter = new Intl.Segmenter();

/** What people count as characters. */
function characters(text: string): string[] {
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

/** Estimated width of `text` in pixels at `fontSize` pixels. */
export function textWidth(text: string, fontSize: number): number {
  return Math.ceil(characters(text).length * fontSize * ADVANCE);
}

/** Breaks `text` at spaces into at most `maxLines` lines of about `width` pixels; what does not fit ends in "…". */
export function wrapText(text: string, width: number, fontSize: number, maxLines: number): string[] {
  const perLine = Math.max(1, Math.floor(width / (fontSize * ADVANCE)));
  const cut = (line: string): string => {
    const all = characters(line);
    return all.length > perLine ? `${all.slice(0, perLine - 1).join('')}…` : line;
  };
  const lines: string[] = [];
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const last = lines.at(-1);
    if (last !== undefined && characters(`${last} ${word}`).length <= perLine)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  if (lines.length <= maxLines) return lines.map(cut);
  const kept = lines.slice(0, maxLines);
  kept[maxLines - 1] = cut(`${kept[maxLines - 1] ?? ''}…`);
  return kept.map(cut);
}

/** Where a text stands and how it looks; `x`, `y` in pixels, `y` the baseline. */
export interface TextPlace {
  x: number;
  y: number;
  size: number;
  colour: string;
  anchor?: 'start' | 'middle' | 'end';
  bold?: boolean;
}

/** One line of text as an SVG element. */
export function textElement(text: string, place: TextPlace): string {
  const weight = place.bold === true ? ' font-weight="bold"' : '';
  return (
    `<text x="${place.x}" y="${place.y}" font-family="${FONT_FAMILY}" font-size="${place.size}"${weight}` +
    ` fill="${place.colour}" text-anchor="${place.anchor ?? 'start'}">${escapeXml(text)}</text>`
  );
}
