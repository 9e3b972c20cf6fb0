/** One process has one voice: lines, and how far a step is. */
export class Voice {
  constructor(stream?: Pick<NodeJS.WriteStream, 'write' | 'isTTY' | 'columns'>);
  say(line: string): void;
  tick(text: string): void;
}

export function seconds(ms: number): string;
export function megabytes(bytes: number): string;
