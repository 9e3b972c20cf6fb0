/** The documents that have tables. */
export const DOCUMENTS: readonly string[];
/** The document with its tables made anew from results that `read` gives by file name. */
export function render(text: string, read: (file: string) => unknown): string;
export function readResult(file: string): unknown;
