// The byte table of GPT-2 and CLIP (openai/CLIP: simple_tokenizer.py, bytes_to_unicode): each of the 256 bytes gets a
// printable character, so that byte-pair encoding can work on text. Printable Latin-1 stands for itself; the other 68 bytes
// become U+0100 and up, in order.

/** Byte → character. */
export const BYTE_CHARACTERS: readonly string[] = byteCharacters();

function byteCharacters(): string[] {
  const printable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
}

/** A text's UTF-8 bytes, as characters of the table. */
export function byteText(text: string): string {
  let result = '';
  for (const byte of new TextEncoder().encode(text)) result += BYTE_CHARACTERS[byte];
  return result;
}
