export function median(values: readonly number[]): number;
/** The 95 % interval of a median by the bootstrap. */
export function medianInterval(values: readonly number[]): [number, number];
