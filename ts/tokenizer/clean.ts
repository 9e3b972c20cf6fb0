// What CLIP does to a text before it is cut into tokens (openai/CLIP: simple_tokenizer.py, basic_clean and
// whitespace_clean): ftfy.fix_text, HTML entities decoded twice, white space collapsed, lower case.
//
// Of ftfy (6.x, default settings) everything is here but one thing: text that was decoded with the wrong character set
// ("schÃ¶n") stays as it is. A prompt typed into a program has not been through that.

import { decodeHTML, decodeHTMLStrict } from 'entities';

/**
 * The inside of a character class: Python's str.isspace, which its regular expressions use. Unlike JavaScript's \\s it has
 * U+001C–1F and U+0085, and lacks U+FEFF.
 */
export const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

const SPACES = new RegExp(`[${SPACE}]+`, 'g');

const LIGATURES: Readonly<Record<string, string>> = {
  ĳ: 'ij',
  Ĳ: 'IJ',
  ŉ: 'ʼn',
  ﬀ: 'ff',
  ﬁ: 'fi',
  ﬂ: 'fl',
  ﬃ: 'ffi',
  ﬄ: 'ffl',
  ﬅ: 'ſt',
  ﬆ: 'st',
  Ǆ: 'DŽ',
  ǅ: 'Dž',
  ǆ: 'dž',
  Ǉ: 'LJ',
  ǈ: 'Lj',
  ǉ: 'lj',
  Ǌ: 'NJ',
  ǋ: 'Nj',
  ǌ: 'nj',
  Ǳ: 'DZ',
  ǲ: 'Dz',
  ǳ: 'dz',
};

/** A text as CLIP's tokenizer wants it. */
export function cleanText(text: string): string {
  const unescaped = unescapeHtml(unescapeHtml(fixText(text)));
  return unescaped.replace(SPACES, ' ').replace(/^ | $/g, '').toLowerCase();
}

/** Python's html.unescape, which the released code calls: one pass, and references to no character give none. */
function unescapeHtml(text: string): string {
  return text.replace(
    /&(?:#(?:[xX]([0-9a-fA-F]+)|(\d+));?|[^\t\n\f <&#;]{1,32};?)/g,
    (all, hex?: string, decimal?: string) => {
      if (hex === undefined && decimal === undefined) return decodeHTML(all);
      const code = hex === undefined ? Number(decimal) : parseInt(hex, 16);
      if (code === 0x0d) return '\r';
      if (code >= 0x80 && code <= 0x9f) return windows1252(code);
      if (code === 0 || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff) return '\ufffd';
      const control = code < 0x20 && code !== 0x09 && code !== 0x0a && code !== 0x0c;
      const nothing = control || code === 0x7f || (code >= 0xfdd0 && code <= 0xfdef) || (code & 0xfffe) === 0xfffe;
      return nothing ? '' : String.fromCodePoint(code);
    },
  );
}

/**
 * Windows-1252 from 0x80 on; its five unused places stay control codes. A table, since TextDecoder('windows-1252') of
 * Node 20 decodes Latin-1.
 */
const WINDOWS_1252 = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ';

/** What a C1 control code, 0x80..0x9f, was meant to be: the character of Windows-1252 with that number. */
function windows1252(code: number): string {
  return WINDOWS_1252[code - 0x80]!;
}

/** So many times a text may have been escaped as HTML; ftfy has no bound, and then a long "&amp;amp;amp;…" takes forever. */
const MOST_PASSES = 64;

/** ftfy.fix_text without the repair of wrongly decoded text: line by line, and each line until nothing changes. */
function fixText(text: string): string {
  let html = true;
  return text
    .split(/(?<=\n)/)
    .map((line) => {
      // From the first '<' on, the text is taken for HTML that shall stay.
      html &&= !line.includes('<');
      let fixed = line;
      for (let pass = 0; pass < MOST_PASSES; pass++) {
        const before = fixed;
        fixed = fixLine(html ? unescapeEntities(fixed) : fixed);
        if (fixed === before) break;
      }
      return fixed;
    })
    .join('');
}

/** ftfy's unescape_html: entities that end in a semicolon, their names in capitals too ("&EACUTE;"). */
function unescapeEntities(text: string): string {
  return text.replace(/&#?[0-9A-Za-z]{1,24};/g, (entity) => {
    if (entity.startsWith('&#')) {
      const decoded = unescapeHtml(entity);
      return decoded.includes(';') ? entity : decoded;
    }
    const decoded = decodeHTMLStrict(entity);
    if (decoded !== entity || entity !== entity.toUpperCase()) return decoded;
    const lower = decodeHTMLStrict(entity.toLowerCase());
    return lower === entity.toLowerCase() || unescapeHtml(entity) !== entity ? entity : lower.toUpperCase();
  });
}

function fixLine(line: string): string {
  return (
    line
      // fix_c1_controls
      .replace(/[\x80-\x9f]/g, (c) => windows1252(c.charCodeAt(0)))
      // fix_latin_ligatures
      .replace(/[ĳĲŉﬀ-ﬆǄ-ǌǱ-ǳ]/g, (c) => LIGATURES[c] ?? c)
      // fix_character_width: full- and half-width forms and the ideographic space, as NFKC has them
      .replace(/[\u3000\uff01-\uffef]/g, (c) => c.normalize('NFKC'))
      // uncurl_quotes
      .replace(/[\u02bc\u2018-\u201b]/g, "'")
      .replace(/[\u201c-\u201f]/g, '"')
      // fix_line_breaks
      .replace(/\r\n|[\r\u2028\u2029]/g, '\n')
      // fix_surrogates: pairs are whole in a JavaScript string; halves become U+FFFD
      .replace(/\p{Cs}/gu, '\ufffd')
      // remove_terminal_escapes
      .replace(/\x1b\[[\d;]*[a-zA-Z]/g, '')
      // remove_control_chars
      .replace(/[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]/g, '')
      .normalize('NFC')
  );
}
