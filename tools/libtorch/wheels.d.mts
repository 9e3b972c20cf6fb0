import type { ZipEntry } from './zip.mjs';

export function licenceOf(wheel: { name: string; licence: string }): string;
/** Requirements that bring the CUDA libraries of a torch wheel, from its Requires-Dist lines. */
export function cudaRequirements(requires: string[], everything: boolean): string[];
export function compilerRequirements(version: string): string[];
export function wheelsAt(from: string, isDirectory: boolean): Promise<{ torch: string; others: string[] }>;
/** Path inside our layout, or undefined for a file that is not wanted. */
export function wantedTorchFile(name: string, cuda: boolean): string | undefined;
export function entriesNamed(entries: ZipEntry[], names: Set<string>): ZipEntry[];
