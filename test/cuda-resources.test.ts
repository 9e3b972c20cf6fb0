/*
 * The guard over the kernels' registers and spills: it reads what ptxas says, and a difference from the table counts or
 * not depending on the compiler's version.
 */
import test from 'ava';
import { differences, parsePtxas } from '../tools/check-cuda-resources.mjs';

const ptxas = (target: string, registers: number, spilled: number) => `
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN9styleclip4cuda12_GLOBAL__N_16kernelIfEEvi' for '${target}'
ptxas info    : Function properties for _ZN9styleclip4cuda12_GLOBAL__N_16kernelIfEEvi
    0 bytes stack frame, ${spilled} bytes spill stores, ${2 * spilled} bytes spill loads
ptxas info    : Used ${registers} registers, used 1 barriers, 512 bytes smem
`;

test('ptxas output of several targets becomes a table by kernel and target', (t) => {
  t.deepEqual(parsePtxas(ptxas('sm_80', 40, 0) + ptxas('sm_90a', 38, 4)), {
    'kernel<float>': {
      sm_80: { registers: 40, spilledBytes: 0, sharedBytes: 512 },
      sm_90a: { registers: 38, spilledBytes: 12, sharedBytes: 512 },
    },
  });
});

test('output that breaks off is an error, not a smaller table', (t) => {
  const text = ptxas('sm_80', 40, 0);
  t.throws(() => parsePtxas(text.slice(0, text.indexOf('ptxas info    : Used'))), {
    message: /registers of kernel<float> on sm_80/,
  });
});

test('registers count under the same compiler, spills under every one', (t) => {
  const table = { nvcc: '13.0.88', kernels: parsePtxas(ptxas('sm_80', 40, 0)) };
  const compiled = (nvcc: string, registers: number, spilled: number) =>
    differences(table, { nvcc, kernels: parsePtxas(ptxas('sm_80', registers, spilled)) });
  t.deepEqual(compiled('13.0.88', 40, 0), []);
  t.deepEqual(compiled('13.0.88', 41, 0), ['kernel<float>, sm_80: takes 41 registers, not 40']);
  t.deepEqual(compiled('13.1.5', 41, 0), []);
  t.deepEqual(compiled('13.1.5', 40, 8), ['kernel<float>, sm_80: spills 24 bytes, not 0']);
});

test('a kernel or a target that the table does not know is a difference; one that was not compiled for is none', (t) => {
  const table = { nvcc: '1', kernels: parsePtxas(ptxas('sm_80', 40, 0) + ptxas('sm_90', 40, 0)) };
  t.deepEqual(differences(table, { nvcc: '1', kernels: parsePtxas(ptxas('sm_80', 40, 0)) }), []);
  t.deepEqual(differences(table, { nvcc: '1', kernels: parsePtxas(ptxas('sm_75', 40, 0)) }), [
    'kernel<float>, sm_75: is not in the table',
  ]);
  t.deepEqual(differences({ nvcc: '1', kernels: {} }, { nvcc: '1', kernels: parsePtxas(ptxas('sm_80', 40, 0)) }), [
    'kernel<float>: is not in the table',
  ]);
});
