/*
 * Turns what is typed after an option into a value, or says what is wrong with it. Commander prints the message behind
 * "option '--alpha <list>' argument 'x' is invalid." and the command ends with exit code 2.
 */
import { InvalidArgumentError } from 'commander';

/** A finite number within [min, max]. */
export function numberWithin(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It is not a number.');
    if (value < min || value > max) throw new InvalidArgumentError(`It must be within ${min} and ${max}.`);
    return value;
  };
}

/** A whole number within [min, max]. */
export function integerWithin(min: number, max: number): (text: string) => number {
  const number = numberWithin(min, max);
  return (text) => {
    const value = number(text);
    if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('It is not a whole number.');
    return value;
  };
}

/** A seed: a whole number within 0 and 2^64 - 1. */
export function seed(text: string): bigint {
  if (!/^\d{1,20}$/.test(text)) throw new InvalidArgumentError('It is not a whole number of 0 or more.');
  const value = BigInt(text);
  if (value >= 1n << 64n) throw new InvalidArgumentError('It must be below 2^64.');
  return value;
}

/** Numbers separated by commas, at least one: "-3,0,3". */
export function numberList(text: string): number[] {
  const number = numberWithin(-1000, 1000);
  return text.split(',').map((part) => number(part));
}

/** Whole numbers separated by commas, at least one: "96,96,64". */
export function integerList(min: number, max: number): (text: string) => number[] {
  const integer = integerWithin(min, max);
  return (text) => text.split(',').map((part) => integer(part));
}

/** Names separated by commas, at least one. */
export function nameList(text: string): string[] {
  const names = text.split(',').map((name) => name.trim());
  if (names.some((name) => name === '')) throw new InvalidArgumentError('A name in the list is empty.');
  return names;
}

/** One of a few words. */
export function oneOf<T extends string>(...words: readonly T[]): (text: string) => T {
  return (text) => {
    const found = words.find((word) => word === text);
    if (found === undefined) throw new InvalidArgumentError(`Allowed: ${words.join(', ')}.`);
    return found;
  };
}

/** A device: auto, cpu, cuda, cuda:0, ... */
export function device(text: string): 'auto' | 'cpu' | 'cuda' | `cuda:${number}` {
  if (text === 'auto' || text === 'cpu' || text === 'cuda') return text;
  const match = /^cuda:(\d{1,3})$/.exec(text);
  if (match === null) throw new InvalidArgumentError('Allowed: auto, cpu, cuda, cuda:0, cuda:1, ...');
  return `cuda:${Number(match[1])}`;
}

/** The threshold of a direction: `auto`, or a number within 0 and 1. */
export function beta(text: string): number | 'auto' {
  return text === 'auto' ? 'auto' : numberWithin(0, 1)(text);
}
