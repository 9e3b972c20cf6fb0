import type { Voice } from './say.mjs';
import type { Step } from './steps.mjs';

export function npmStep(root: string, voice: Voice): Step;
export function npmCommand(env?: NodeJS.ProcessEnv): [string, ...string[]];
export function cleanEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv;
