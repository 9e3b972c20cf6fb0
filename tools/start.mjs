/*
 * `npm start`: sets the checkout up, then runs the main job. The two times are printed apart, since the first run is
 * mostly set-up.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { ROOT, setUp } from './setup/checkout.mjs';
import { reportFailure } from './setup/failure.mjs';
import { seconds } from './setup/say.mjs';

try {
  const setup = await setUp({ what: 'npm start' });
  const begun = Date.now();
  const job = spawn(process.execPath, [join(ROOT, 'examples', 'main-job.mjs'), ...process.argv.slice(2)], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  // Ctrl-C reaches the job too, as it is in the same group; it decides how to end, and we report it.
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, () => job.kill(signal));
  const status = await new Promise((done, fail) => {
    job.on('error', fail);
    job.on('close', (code, signal) => done(code ?? (signal === 'SIGINT' ? 130 : 143)));
  });
  process.stderr.write(`\nset-up ${seconds(setup.ms)}, main job ${seconds(Date.now() - begun)}\n`);
  process.exitCode = status;
} catch (error) {
  reportFailure(error);
}
