/*
 * Which prompts count, by how the world is made (tools/world/factors.py) and how well its judge reads, never by results. Of
 * each factor the first edit of models/cats/quality.json is taken.
 *
 *  bar       factors that are no part of a cat's identity, that the judge reads (R² of at least 0.9 on the generator's
 *            pictures, quality.json), and that are independent: hat and bow tie are correlated on purpose, so of the two the
 *            first
 *  identity  factors that the identity network is taught to tell cats apart by: such a prompt asks for another cat
 *  rest      the others
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const CARD = join(import.meta.dirname, '..', '..', 'models', 'cats', 'quality.json');

/** tools/world/factors.py IDENTITY and CORRELATED_PAIR[1]. */
const IDENTITY = ['fur', 'shade', 'stripes', 'eye_colour', 'ear_size', 'face_width', 'muzzle'];
const CORRELATED = 'bow_tie';
const READS = 0.9;

/** @typedef {'bar' | 'identity' | 'rest'} Group */

/**
 * @param {string} factor
 * @param {Record<string, number>} r2 the judge's, by factor
 * @returns {Group}
 */
export function groupOf(factor, r2) {
  if (IDENTITY.includes(factor)) return 'identity';
  return factor !== CORRELATED && (r2[factor] ?? 0) >= READS ? 'bar' : 'rest';
}

/**
 * @param {Record<string, { factor: string }>} edits of the card
 * @param {readonly string[]} [only] names of edits; else the first of each factor
 * @returns {{ group: Group, prompts: string[], count: 'cats' | 'identity-cats' }[]}
 */
export function groupsOf(edits, only) {
  const r2 = JSON.parse(readFileSync(CARD, 'utf8')).judge.r2_generated;
  const unknown = only?.find((name) => edits[name] === undefined);
  if (unknown !== undefined) throw new Error(`there is no edit ${unknown}: ${Object.keys(edits).join(', ')}`);
  const seen = new Set();
  const names = Object.keys(edits).filter((name) => {
    const factor = edits[name]?.factor;
    const first = !seen.has(factor);
    seen.add(factor);
    return only === undefined ? first : only.includes(name);
  });
  return /** @type {const} */ (['bar', 'identity', 'rest'])
    .map((group) => ({
      group,
      prompts: names.filter((name) => groupOf(edits[name]?.factor ?? '', r2) === group),
      count: group === 'bar' ? /** @type {const} */ ('cats') : /** @type {const} */ ('identity-cats'),
    }))
    .filter(({ prompts }) => prompts.length > 0);
}
