// Settings that people of the field start from, by name, with where each comes from (styleclip = orpatashnik/StyleCLIP).

/** Settings of a global direction and its strength. */
export interface Preset {
  /** What the numbers are for. */
  readonly title: string;
  /** Threshold of |relevance|, or `'auto'`; exclusive with `channels`. */
  readonly beta?: number | 'auto';
  /** How many channels. */
  readonly channels?: number;
  /** Strength, or strengths of a grid. */
  readonly alpha: number | readonly number[];
  readonly source: string;
}

const GRID: readonly number[] = Object.freeze([-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5]);

/** The field's known settings. Spread one into the options: `relevance.direction(text, { channels: PRESETS.cats.channels })`. */
export const PRESETS = Object.freeze({
  notebook: {
    title: "the released notebook's defaults",
    beta: 0.15,
    alpha: 4.1,
    source: 'styleclip notebooks/StyleCLIP_global.ipynb; range of α -10..10, of β 0.08..0.3',
  },
  faces: {
    title: 'faces',
    channels: 20,
    alpha: 3,
    source: 'styleclip global_directions GUI, ffhq: automatic β with 20 channels',
  },
  cars: { title: 'cars', channels: 100, alpha: 3, source: 'styleclip global_directions GUI: 100 channels off ffhq' },
  cats: {
    title: 'photographs of cats (AFHQ)',
    channels: 100,
    alpha: 7,
    source: 'styleclip global_directions GUI: 100 channels off ffhq',
  },
  colour: {
    title: 'edits of a colour',
    channels: 15,
    alpha: 3,
    source: 'styleclip README: 10 to 20 channels for colour',
  },
  structure: {
    title: 'edits of a shape',
    channels: 150,
    alpha: 3,
    source: 'styleclip README: 100 to 200 channels for structure',
  },
  gender: { title: 'full bodies: woman to man', beta: 0.2, alpha: 3, source: 'styleclip global_torch/StyleCLIP.py' },
  clothing: {
    title: 'full bodies: T-shirt, jeans, jacket',
    beta: 0.15,
    alpha: 4,
    source: 'styleclip global_torch/StyleCLIP.py',
  },
  grid: {
    title: 'a grid of strengths',
    beta: 0.13,
    alpha: GRID,
    source: 'hyperstyle and stylegan3-editing: β 0.11..0.16, α -5..5 in 11 steps',
  },
  video: { title: 'edits of a video', beta: 0.2, alpha: 10, source: 'rotemtzaban/STIT example' },
}) satisfies Readonly<Record<string, Preset>>;

/** Name of a preset. */
export type PresetName = keyof typeof PRESETS;
