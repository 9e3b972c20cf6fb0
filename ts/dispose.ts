// `await using` needs Symbol.asyncDispose, which the first releases of Node 20 lack. TypeScript's own helpers look it up
// on Symbol at run time, so defining it here, before any class of ours is, is enough.

if (Symbol.asyncDispose === undefined) {
  Object.defineProperty(Symbol, 'asyncDispose', { value: Symbol('Symbol.asyncDispose') });
}

export {};
