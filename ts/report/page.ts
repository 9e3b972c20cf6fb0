/*
 * A report as one self-contained HTML page: no script, no font or style from elsewhere, pictures by relative path, light
 * or dark as the reader's system says. What a section shows is data (text, pictures, tables), so every report of this
 * package looks the same.
 */
import { escapeXml } from './svg.js';
import { htmlTable, type Table } from './table.js';

/** A picture of a section; `src` is relative to the page. */
export interface PagePicture {
  readonly src: string;
  /** What is to be seen, for those who cannot see it. */
  readonly alt: string;
  readonly caption?: string;
}

/** One section of a page; every part but the heading may be absent. */
export interface PageSection {
  readonly heading: string;
  /** Paragraphs of plain text. */
  readonly text?: readonly string[];
  readonly pictures?: readonly PagePicture[];
  readonly tables?: readonly (Table & { readonly caption?: string })[];
}

/** A whole page. */
export interface Page {
  readonly title: string;
  /** Paragraphs below the title. */
  readonly intro?: readonly string[];
  readonly sections: readonly PageSection[];
  /** One line at the end: when and by what the page was made. */
  readonly footer?: string;
}

const STYLE = `
:root { color-scheme: light dark; --paper: #fff; --ink: #1d1f24; --faint: #646a76; --line: #e2e4e9; --panel: #f7f7f8; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181c; --ink: #e6e7ea; --faint: #9aa0ac; --line: #30343c; --panel: #1e2126; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: 1.2rem; border-top: 1px solid var(--line); }
p { margin: 0 0 .8rem; max-width: 46rem; }
figure { margin: 1rem 0 1.2rem; }
figure img { display: block; max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: 8px; }
figcaption, caption { color: var(--faint); font-size: .875rem; text-align: left; padding: .4rem 0; }
.scroll { overflow-x: auto; margin: .6rem 0 1.2rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 1.2rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--faint); font-weight: 600; }
td.number { text-align: right; }
footer { margin-top: 3rem; color: var(--faint); font-size: .875rem; }
`;

const paragraphs = (text: readonly string[] | undefined): string[] =>
  (text ?? []).map((line) => `<p>${escapeXml(line)}</p>`);

function figure(picture: PagePicture): string {
  const caption = picture.caption === undefined ? '' : `<figcaption>${escapeXml(picture.caption)}</figcaption>`;
  const src = picture.src.split('/').map(encodeURIComponent).join('/');
  return `<figure><img src="${src}" alt="${escapeXml(picture.alt)}" loading="lazy">${caption}</figure>`;
}

function captioned(table: Table & { readonly caption?: string }): string {
  const caption = table.caption === undefined ? '' : `<caption>${escapeXml(table.caption)}</caption>\n`;
  return `<div class="scroll">${htmlTable(table).replace('<thead>', `${caption}<thead>`)}</div>`;
}

function section(part: PageSection): string {
  return [
    `<section>\n<h2>${escapeXml(part.heading)}</h2>`,
    ...paragraphs(part.text),
    ...(part.pictures ?? []).map(figure),
    ...(part.tables ?? []).map(captioned),
    '</section>',
  ].join('\n');
}

/** The page as HTML text. All text is escaped; nothing of it is taken as markup. */
export function renderPage(page: Page): string {
  const footer = page.footer === undefined ? '' : `<footer>${escapeXml(page.footer)}</footer>\n`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeXml(page.title)}</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>${escapeXml(page.title)}</h1>
${paragraphs(page.intro).join('\n')}
</header>
${page.sections.map(section).join('\n')}
${footer}</body>
</html>
`;
}
