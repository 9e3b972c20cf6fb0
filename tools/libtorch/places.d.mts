/** The libtorch version that set-up fetches. */
export const PINNED_TORCH: string;
/** Versions that sources build against: [major, minor] of the first and the last. */
export const SUPPORTED_TORCH: Readonly<{ first: readonly [number, number]; last: readonly [number, number] }>;

export function cacheDirectory(env?: NodeJS.ProcessEnv): string;
export function libtorchRoot(cache: string, version: string): string;
export function cudaCompilerRoot(cache: string, version: string): string;
export function cudaCompilerIn(root: string, version: string): string;
export function majorMinor(version: string): [number, number] | undefined;
export function isSupportedTorch(version: string): boolean;
