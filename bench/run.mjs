/*
 * `npm run bench -- QUESTION [options]`: answers one question about speed. Each question is a folder here whose run.mjs
 * exports `describe` (one line) and `run(options)`, which builds what it needs, checks correctness before it times
 * anything, and returns one plain object; this file adds the machine, prints it and keeps it under bench/results/.
 *
 *     --json     print the object, and nothing else, on stdout
 *     --no-save  keep no file
 *     --NAME V   an option of the question (its run.mjs lists them)
 */
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { machine, slug } from './machine.mjs';

const HERE = import.meta.dirname;

/** @typedef {{ describe: string, run(options: Record<string, string>): Promise<Record<string, unknown>>, show(result: any): string }} Question */

/**
 * Splits `--name value` pairs and the two switches from the question's name.
 * @param {string[]} args
 */
function parse(args) {
  /** @type {Record<string, string>} */
  const options = {};
  const rest = [...args];
  let question = '';
  let json = false;
  let save = true;
  while (rest.length > 0) {
    const word = /** @type {string} */ (rest.shift());
    if (word === '--json') json = true;
    else if (word === '--no-save') save = false;
    else if (word.startsWith('--')) {
      const value = rest.shift();
      if (value === undefined) throw new Error(`${word} needs a value`);
      options[word.slice(2)] = value;
    } else if (question === '') question = word;
    else throw new Error(`one question at a time: ${question} or ${word}?`);
  }
  return { question, options, json, save };
}

/** @returns {string[]} the folders that answer a question */
function questions() {
  return readdirSync(HERE, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(HERE, entry.name, 'run.mjs')))
    .map((entry) => entry.name);
}

/**
 * @param {string} name
 * @returns {Promise<Question>}
 */
function load(name) {
  return import(`./${name}/run.mjs`);
}

/**
 * Written beside and renamed, so that a results file is always whole.
 * @param {string} name
 * @param {unknown} result
 */
async function keep(name, result) {
  const folder = join(HERE, 'results');
  await mkdir(folder, { recursive: true });
  const file = join(folder, name);
  await writeFile(`${file}.new`, `${JSON.stringify(result, null, 2)}\n`);
  await rename(`${file}.new`, file);
  return file;
}

async function main() {
  const { question, options, json, save } = parse(process.argv.slice(2));
  if (!questions().includes(question)) {
    const lines = [];
    for (const name of questions()) lines.push(`  ${name}  ${(await load(name)).describe}`);
    process.stderr.write(`Usage: npm run bench -- QUESTION [options]. The questions:\n${lines.join('\n')}\n`);
    process.exitCode = 2;
    return;
  }
  const asked = await load(question);
  const before = machine();
  const answer = await asked.run(options);
  const result = { question, date: new Date().toISOString(), machine: before, ...answer };
  if (save) {
    const file = await keep(`${question}-${slug(before)}.json`, result);
    process.stderr.write(`kept in ${file}\n`);
  }
  process.stdout.write(json ? `${JSON.stringify(result)}\n` : asked.show(result));
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
