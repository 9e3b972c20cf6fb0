/*
 * What reports are made of: contact sheets, animations, tables, and a page that shows them.
 */
export { alphaLabel, contactSheet, type Picture, type SheetOptions } from './sheet.js';
export { animation, sideBySide, type AnimationOptions } from './video.js';
export { formatNumber, htmlTable, textTable, type Table } from './table.js';
export { renderPage, type Page, type PagePicture, type PageSection } from './page.js';
