// What CLIP does to a text before it is cut into tokens (openai/CLIP: simple_tokenizer.py, basic_clean and
// whitespace_clean): ftfy.fix_text, HTML entities decoded twice, white space collapsed, lower case.
//
// Of ftfy (6.x, default settings) everything is here but one thing: text that was decoded with the wrong character set
// ("schÃ¶n") stays as it is. A prompt typed into a program has not been through that.

import { decodeHTML } from 'entities';

/** Python's str.isspace, which its regular expressions use: unlike JavaScript's, with U+001C–1F and U+0085, without U+FEFF. */
const SPACES = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/g;

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
  const unescaped = decodeHTML(decodeHTML(fixText(text)));
  return unescaped.replace(SPACES, ' ').replace(/^ | $/g, '').toLowerCase();
}

/** ftfy.fix_text without the repair of wrongly decoded text. */
function fixText(text: string): string {
  return (
    text
      // remove_terminal_escapes
      .replace(/\x1b\[[\d;]*m/g, '')
      // fix_latin_ligatures
      .replace(/[ĳĲŉﬀ-ﬆǄ-ǌǱ-ǳ]/g, (c) => LIGATURES[c] ?? c)
      // fix_character_width: full- and half-width forms and the ideographic space, as NFKC has them
      .replace(/[\u3000\uff01-\uffef]/g, (c) => c.normalize('NFKC'))
      // uncurl_quotes
      .replace(/[\u02bc\u2018-\u201b]/g, "'")
      .replace(/[\u201c-\u201f]/g, '"')
      // fix_line_breaks
      .replace(/\r\n|[\r\u2028\u2029\u0085]/g, '\n')
      // fix_surrogates: pairs are whole in a JavaScript string; halves become U+FFFD
      .replace(/\p{Cs}/gu, '\ufffd')
      // remove_control_chars
      .replace(/[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]/g, '')
      .normalize('NFC')
  );
}
