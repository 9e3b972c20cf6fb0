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

/** Whether a value is an object with keys: no array, no null. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
