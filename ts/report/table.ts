/*
 * Tables, as text for a terminal and as HTML for a page: the same rows both ways. Numbers are right-aligned, everything
 * else left.
 */
import { escapeXml } from './svg.js';

/** A table: column titles and rows of the same length. */
export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

/** A number as tables show it: integers as they are, others with four significant digits. */
export function formatNumber(value: number): string {
  if (Number.isInteger(value) || !Number.isFinite(value)) return String(value);
  return String(Number(value.toPrecision(4)));
}

const cellText = (value: string | number): string => (typeof value === 'number' ? formatNumber(value) : value);

/** The table as lines of text, columns two spaces apart. */
export function textTable(table: Table): string {
  const lines = [table.columns, ...table.rows.map((row) => row.map(cellText))];
  const widths = table.columns.map((_, i) => Math.max(...lines.map((line) => (line[i] ?? '').length)));
  const right = table.columns.map(
    (_, i) => table.rows.length > 0 && table.rows.every((row) => typeof row[i] === 'number'),
  );
  return lines
    .map((line) =>
      line
        .map((text, i) => (right[i] === true ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** The table as an HTML `<table>`. */
export function htmlTable(table: Table): string {
  const head = table.columns.map((title) => `<th scope="col">${escapeXml(title)}</th>`).join('');
  const body = table.rows.map((row) => {
    const cells = row.map((value) => {
      const numeric = typeof value === 'number' ? ' class="number"' : '';
      return `<td${numeric}>${escapeXml(cellText(value))}</td>`;
    });
    return `<tr>${cells.join('')}</tr>`;
  });
  return `<table>\n<thead><tr>${head}</tr></thead>\n<tbody>\n${body.join('\n')}\n</tbody>\n</table>`;
}
