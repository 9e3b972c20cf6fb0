export function trackedFiles(root: string): Promise<string[]>;
export function changedFiles(root: string): Promise<string[]>;
