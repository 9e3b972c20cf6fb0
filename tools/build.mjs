/*
 * `npm run build [native | typescript]`: the set-up of `npm start` without its job. Options: --tests, --cuda.
 */
import { setUp } from './setup/checkout.mjs';
import { reportFailure } from './setup/failure.mjs';

const args = process.argv.slice(2);
const part = args.find((arg) => arg === 'native' || arg === 'typescript');
try {
  await setUp({
    what: `npm run build${part ? `:${part}` : ''}`,
    parts: part ? ['npm', part] : ['npm', 'native', 'typescript'],
    tests: args.includes('--tests'),
    cuda: args.includes('--cuda'),
  });
} catch (error) {
  reportFailure(error);
}
