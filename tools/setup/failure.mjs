/*
 * How the commands of a checkout report that they failed: what happened, what to do, and no stack where the failure is one
 * that was foreseen.
 */

/**
 * Prints the failure and sets the exit code.
 * @param {unknown} error
 */
export function reportFailure(error) {
  if (error instanceof Error && 'remedy' in error) {
    process.stderr.write(`\n${error.message}\n${String(error.remedy)}\n`);
  } else if (error instanceof Error && error.name === 'ProcessError') {
    process.stderr.write(`\n${error.message}\n`);
  } else {
    process.stderr.write(`\n${error instanceof Error ? error.stack : String(error)}\n`);
  }
  process.exitCode = 1;
}
