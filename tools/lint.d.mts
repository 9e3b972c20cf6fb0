import type { Voice } from './setup/say.mjs';

export function lint(voice: Voice, options?: { fix?: boolean; only?: string; all?: boolean }): Promise<string[]>;
export function sourcesOf(changed: string[], sources: string[]): string[];
