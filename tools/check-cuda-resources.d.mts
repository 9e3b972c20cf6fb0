export interface Resources {
  registers: number;
  /** Bytes of spill stores and loads. */
  spilledBytes: number;
  sharedBytes: number;
}
/** By kernel, then by target ("sm_90"). */
export type Kernels = Record<string, Record<string, Resources>>;
export interface Table {
  nvcc: string;
  kernels: Kernels;
}
/** Reads ptxas's verbose output. */
export function parsePtxas(text: string): Kernels;
/** What differs from the table, a line each. */
export function differences(table: Table, found: Table): string[];
