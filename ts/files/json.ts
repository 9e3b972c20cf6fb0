// JSON from files and archives: never trusted to have the form that was hoped for.

/** The object in a JSON text, or undefined when it is no JSON or no object. */
export function parseJsonObject({ text }: { text: string | undefined }): Record<string, unknown> | undefined {
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** A name of the interface as files spell it: `truncationPsi` becomes `truncation_psi`; snake case stays. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
}

/** Whether a value is an object with keys: no array, no null. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
