/** Runs `action` while holding the lock `file`; waits for its owner, or takes it over when that process has died. */
export function withLock<T>(
  file: string,
  what: string,
  action: () => Promise<T>,
  say?: (line: string) => void,
): Promise<T>;
