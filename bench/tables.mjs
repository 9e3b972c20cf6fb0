/*
 * The tables of the documents named below, made from the results under bench/results: between `<!-- table NAME FILE -->` and
 * `<!-- end -->` stands what this file makes of FILE. `node bench/tables.mjs` writes them anew; a test compares.
 */
import { existsSync, readFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const HERE = import.meta.dirname;
const NAMES = ['performance', 'methods', 'optimization', 'quality', 'training', 'inversion'];
export const DOCUMENTS = NAMES.map((name) => join(HERE, '..', 'docs', `${name}.md`));
const MIB = 2 ** 20;

/** @typedef {any} Result what a question answered */

/**
 * @param {string[]} head
 * @param {(string | number)[][]} rows
 */
function table(head, rows) {
  const line = (/** @type {(string | number)[]} */ cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}

/** @param {number | null | undefined} value */
const fixed = (value, digits = 2) => (typeof value === 'number' ? value.toFixed(digits) : '–');
/** @param {number | null | undefined} value */
const percent = (value) => (typeof value === 'number' ? `${(100 * value).toFixed(0)} %` : '–');

/** @param {Result} r */
function machine(r) {
  const { cpu, cores, instructionSets, memoryGiB, system, node, loadBefore } = r.machine;
  return (
    `${cpu}, ${cores} cores (${instructionSets.join(', ')}), ${memoryGiB} GiB, ${system}, Node ${node}; ` +
    `load ${loadBefore} before, ${r.date.slice(0, 10)}.`
  );
}

/** @param {Result} r */
function ratios(r) {
  const rows = [
    ['`exact/float32` : PyTorch loop', 'exactFloat32VsTorchLoop', '4'],
    ['`exact/float32` : `reference`', 'exactFloat32VsReference', '2'],
    ['`exact/bfloat16` : PyTorch loop', 'exactBfloat16VsTorchLoop', '12, with AMX'],
    ['`screened` : `exact/float32`', 'screenedVsExact', '16'],
  ];
  return table(
    ['', 'times as fast', 'goal', 'why not'],
    rows.map(([name = '', key = '', goal = '']) => [name, fixed(r.ratios[key]), goal, r.reasons[key] ?? '']),
  );
}

/** @param {Result} r */
function methods(r) {
  return table(
    ['contender', 'pictures/s', 'channels/s', 'batch', 'slowest and fastest turn'],
    r.methods.map((/** @type {any} */ m) => [
      m.name,
      fixed(m.imagesPerSecond, 0),
      fixed(m.channelsPerSecond, 0),
      m.batch,
      `${fixed(Math.min(...m.allRates), 0)} … ${fixed(Math.max(...m.allRates), 0)}`,
    ]),
  );
}

/** @param {Result} r */
function agreement(r) {
  const rows = Object.entries(r.agreement.against).map(([name, /** @type {any} */ a]) => {
    if (!a.cosine) return [name, '–', '–', '–', '–', '–', '–'];
    const rest = [fixed(a.relevance.pearson.lowest, 4), fixed(a.relevance.spearman.lowest, 4)];
    return [
      name === 'exact' ? '`exact`, against `reference`' : `\`${name}\`, against \`exact\``,
      fixed(a.meanDifference.inEpsilons, 2),
      a.cosine.lowestResolved === null ? '–' : a.cosine.lowestResolved.toFixed(7),
      `${a.cosine.resolved} and ${a.cosine.unresolved}`,
      a.cosine.median.toFixed(6),
      rest.join(', '),
      fixed(a.relevance.recall.lowest, 2),
    ];
  });
  return table(
    [
      '',
      'largest mean difference, ε',
      'lowest cosine, resolved rows',
      'rows resolved and not',
      'median cosine',
      'Pearson, Spearman (lowest)',
      'recall (lowest)',
    ],
    rows,
  );
}

/** @param {Result} r */
function shares(r) {
  // The median of the turns, and between which they were.
  const share = (/** @type {string} */ precision, /** @type {string} */ layers) => {
    const turns = r.shareOfMatmulByTurn[precision][layers];
    return `${percent(r.shareOfMatmulByPrecision[precision][layers])} (${percent(Math.min(...turns))} … ${percent(Math.max(...turns))})`;
  };
  return table(
    ['', 'same-size, 64 channels and more', 'transposed', 'whole suffix'],
    [
      ...Object.keys(r.shareOfMatmulByPrecision).map((precision) => [
        `\`exact/${precision}\``,
        share(precision, 'sameSize'),
        share(precision, 'transposed'),
        share(precision, 'suffix'),
      ]),
      ['goal', '85 %', '60 %', '50 %'],
    ],
  );
}

/** @param {Result} r */
function stages(r) {
  return table(
    ['stage', 'precision', 'of the sweep', 'µs a picture', 'GFLOP/s', 'GB/s', 'bound by', 'times its floor'],
    r.stages.map((/** @type {any} */ s) => [
      s.kind === 'base' || s.kind === 'clip' || s.kind === 'sums' ? s.name : `${s.name}, ${s.kind}`,
      s.precision,
      `${(100 * s.shareOfSweep).toFixed(1)} %`,
      fixed(1e6 * s.secondsPerPicture, 1),
      fixed(s.gflops, 0),
      fixed(s.gigabytesPerSecond, 1),
      s.timesFloor === null ? '–' : s.bound,
      fixed(s.timesFloor, 1),
    ]),
  );
}

/** @param {Result} r */
function node(r) {
  const { medianRatio, interval95, pairs } = r.node;
  return table(
    ['pairs', 'median of Node : C++', '95 % interval', 'goal'],
    [
      [
        pairs.length,
        medianRatio.toFixed(3),
        interval95.map((/** @type {number} */ x) => x.toFixed(3)).join(' … '),
        '1.03',
      ],
    ],
  );
}

/** @param {Result} r */
function memory(r) {
  return table(
    ['method', '`memory`, MiB', 'least, MiB', 'pictures rendered', 'batch', 'peak above the loaded models, MiB'],
    r.memory.map((/** @type {any} */ m) => [
      m.contender,
      m.memory / MIB,
      fixed(m.leastMiB, 0),
      m.rendered,
      m.batch,
      fixed(m.grownMiB, 0),
    ]),
  );
}

/** @param {Result} r */
function scaling(r) {
  return Object.entries(r.scaling)
    .map(([by, /** @type {any} */ curves]) => {
      const able = curves.filter((/** @type {any} */ curve) => curve.points.length > 0);
      const steps = able[0]?.points.map((/** @type {any} */ point) => point[by]) ?? [];
      const rows = able.map((/** @type {any} */ curve) => [
        curve.name,
        ...curve.points.map((/** @type {any} */ point) => fixed(point.imagesPerSecond, 0)),
      ]);
      return table([`pictures/s by ${by}`, ...steps], rows);
    })
    .join('\n\n');
}

/** @param {Result} r */
function methodsAgreement(r) {
  const rows = r.methods.map((/** @type {any} */ m) => [
    `\`${m.name}\``,
    fixed(m.timesAsFast),
    m.cosine.median.toFixed(4),
    m.cosine.p10.toFixed(4),
    m.cosine.min.toFixed(4),
    percent(m.magnitude.median),
    `${fixed(m.pearson, 3)}, ${fixed(m.spearman, 3)}`,
    `${fixed(m.recallMean, 3)}, ${fixed(m.recall)}`,
  ]);
  return table(
    [
      `${r.sweep.channels} channels × ${r.sweep.images} pictures`,
      'times as fast',
      'cosine, median',
      '10 %',
      'lowest',
      'error of mean \\|d\\|, median',
      'Pearson, Spearman (lowest of the prompts)',
      'recall at automatic β (mean, lowest)',
    ],
    rows,
  );
}

/** @param {Result} r */
function screened(r) {
  const { keep, survivors, seconds, timesAsFast, recall, recallMin } = r.screened;
  return table(
    ['kept', 'survivors', 'seconds a prompt', 'times as fast as `exact`', 'recall of the kept (mean, lowest)'],
    [[keep, survivors, fixed(seconds, 1), fixed(timesAsFast, 1), `${fixed(recall, 3)}, ${fixed(recallMin)}`]],
  );
}

/** @param {Result} r */
function operators(r) {
  const mib = (/** @type {number} */ bytes) => fixed(bytes / MIB, 1);
  return table(
    ['operator', 'input', 'type', 'ms', 'times as fast', 'allocations, plain', 'peak MiB, plain'],
    r.operators.map((/** @type {any} */ o) => [
      `\`${o.op}\``,
      o.shape,
      o.type === 'Float' ? 'float32' : 'bfloat16',
      fixed(o.fused.milliseconds),
      fixed(o.timesAsFast.median),
      `${o.fused.allocations}, ${o.plain.allocations}`,
      `${mib(o.fused.peakBytes)}, ${mib(o.plain.peakBytes)}`,
    ]),
  );
}

/**
 * @param {Result} r
 * @param {'bar' | 'identity' | 'rest'} group of prompts
 */
function edits(r, group) {
  const rows = r.rows
    .filter((/** @type {any} */ m) => m.group === group)
    .map((/** @type {any} */ m) => {
      const [other, by] = Object.entries(m.mostMovedOther)[0] ?? ['', 0];
      const training = m.trainingSeconds === undefined ? '' : ` (training ${fixed(m.trainingSeconds, 0)})`;
      return [
        `${m.method}: ${m.target}`,
        m.cats,
        `${m.factor}, ${m.movedSigma.toFixed(2)}`,
        percent(m.shareMoved),
        `${m.identity.toFixed(3)}, ${percent(m.shareSame)}`,
        percent(m.shareBoth),
        `${m.othersSigma.toFixed(2)}, ${m.othersEachSigma.toFixed(2)} (${other} ${Number(by).toFixed(2)})`,
        `${(m.seconds / m.cats).toFixed(2)}${training}`,
      ];
    });
  return table(
    [
      '',
      'cats',
      'moved, σ',
      'by 1 σ and more',
      'identity: mean, share ≥ 0.8',
      'both',
      'other factors, σ: on the whole, in each cat (most moved)',
      'seconds a cat',
    ],
    rows,
  );
}

/** @param {Result} r */
function qualityBar(r) {
  const inBar = r.rows.filter((/** @type {any} */ m) => m.group === 'bar');
  const methods = [...new Set(inBar.map((/** @type {any} */ m) => m.method))];
  const of = (/** @type {string} */ method) => inBar.filter((/** @type {any} */ m) => m.method === method);
  const over = (/** @type {any} */ m) => m.shareBoth >= r.bar.share;
  return table(
    ['', 'prompts at the bar', 'worst prompt', 'all cats', 'other factors, of what the asked one moved'],
    methods.map((/** @type {any} */ method) => {
      const rows = of(method);
      const sum = (/** @type {(m: any) => number} */ value) =>
        rows.reduce((/** @type {number} */ s, /** @type {any} */ m) => s + value(m), 0);
      const worst = rows.reduce((/** @type {any} */ a, /** @type {any} */ m) => (m.shareBoth < a.shareBoth ? m : a));
      return [
        method,
        `${rows.filter(over).length} of ${rows.length}`,
        `${worst.factor}, ${percent(worst.shareBoth)}`,
        percent(sum((m) => m.shareBoth * m.cats) / sum((m) => m.cats)),
        percent(sum((m) => m.othersSigma) / sum((m) => m.movedSigma)),
      ];
    }),
  );
}

/** @param {Result} r */
const quality = (r) => edits(r, 'bar');
/** @param {Result} r */
const qualityIdentity = (r) => edits(r, 'identity');
/** @param {Result} r */
const qualityRest = (r) => edits(r, 'rest');

/** @param {Result} r */
function mapper(r) {
  return table(
    ['', 'steps alike (mean cosine)', 'CLIP gain', 'rms of a step', 'identity', 'seconds of training'],
    r.rows.map((/** @type {any} */ m) => [
      `${m.prompt}: ${m.variant}`,
      fixed(m.similarity, 3),
      fixed(m.gain, 3),
      fixed(m.length, 3),
      fixed(m.identity, 3),
      fixed(m.seconds, 0),
    ]),
  );
}

/** @param {Result} r */
function optimize(r) {
  const rows = r.worlds.flatMap((/** @type {any} */ w) =>
    w.rows.map((/** @type {any} */ row) => [
      `${w.world}, ${row.name}`,
      fixed(row.secondsPerStep, 3),
      fixed(row.stepsPerSecondAndLatent),
      fixed(row.peakMiB, 0),
      row.name === 'styleclip, 1' ? fixed(w.ratios.speed) : '',
      row.name === 'styleclip, 1' ? fixed(w.ratios.memory) : '',
    ]),
  );
  return table(
    ['', 'seconds a step', 'steps/s a latent', 'memory, MiB', 'times the loop’s speed', 'times its memory'],
    rows,
  );
}

/** @param {Result} r */
function inversion(r) {
  const rows = r.inversion.map((/** @type {any} */ m) => {
    const projector = r.inversion.find((/** @type {any} */ o) => o.set === m.set && o.method === 'projector-w');
    return [
      `${m.set}: ${m.label}`,
      m.cats,
      `${m.mse.toFixed(4)}, ${m.mseMedian.toFixed(4)}`,
      fixed(m.judge, 4),
      fixed(m.identity, 3),
      fixed(m.secondsPerCat),
      fixed(projector === undefined ? undefined : m.secondsPerCat / projector.secondsPerCat, 3),
    ];
  });
  return table(
    [
      '',
      'cats',
      'mean square error: mean, median',
      'judging CLIP, 1 − cosine',
      'identity',
      'seconds a cat',
      'of the projector’s time',
    ],
    rows,
  );
}

/** @type {Record<string, (result: Result) => string>} */
const TABLES = {
  machine,
  ratios,
  methodsAgreement,
  screened,
  methods,
  agreement,
  shares,
  stages,
  node,
  memory,
  scaling,
  quality,
  qualityBar,
  qualityIdentity,
  qualityRest,
  mapper,
  optimize,
  operators,
  inversion,
};

/** @type {Record<string, string>} the field of a result that a table is made of, where it is not its own name */
const PARTS = {
  quality: 'rows',
  qualityBar: 'rows',
  qualityIdentity: 'rows',
  qualityRest: 'rows',
  mapper: 'rows',
  optimize: 'worlds',
  methodsAgreement: 'methods',
  shares: 'shareOfMatmulByTurn',
};

/**
 * The document with its tables made anew.
 * @param {string} text
 * @param {(file: string) => Result} read  a file under bench/results; undefined where there is none
 */
export function render(text, read) {
  return text.replaceAll(
    /<!-- table (\S+) (\S+) -->\n[\s\S]*?<!-- end -->/g,
    (_, /** @type {string} */ name, /** @type {string} */ file) => {
      const make = TABLES[name];
      if (!make) throw new Error(`there is no table ${name}: ${Object.keys(TABLES).join(', ')}`);
      const result = read(file);
      const part = PARTS[name] ?? name;
      let made = '*No results are kept yet.*';
      if (result !== undefined)
        made = result[part] === undefined ? '*Not part of the run that is kept.*' : make(result);
      return `<!-- table ${name} ${file} -->\n\n${made}\n\n<!-- end -->`;
    },
  );
}

/** @param {string} file */
export function readResult(file) {
  const path = join(HERE, 'results', file);
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const document of DOCUMENTS) {
    const text = render(readFileSync(document, 'utf8'), readResult);
    await writeFile(`${document}.new`, text);
    await rename(`${document}.new`, document);
  }
}
