import type { Images, Latents, StyleClip } from 'styleclip';

/** How an edit is made. */
export interface Setting {
  layers: 'conv' | 'all';
  measure: 'cosine' | 'projection';
  channels: number;
  strength: number;
}

/** What the readers say of an edit. */
export interface Measured {
  /** How much nearer to its goal the factor came, in its standard deviations over the cats. */
  moved_sigma: number;
  share_right_way: number;
  others_mean_sigma: number;
  most_moved_other: Record<string, number>;
  /** Share of the cats that the judging CLIP finds nearer to the target's text. */
  judging_clip_agrees: number;
}

/** An edit of models/cats/quality.json. */
export interface CardEdit extends Setting, Measured {
  target: string;
  neutral: string;
  factor: string;
}

export function cardEdits(): Promise<Record<string, CardEdit>>;

export interface Litter {
  latents: Latents;
  /** The judge's reading, [cats][factors]. */
  told: number[][];
  /** Unit embeddings by the judging CLIP. */
  embedded: Float32Array[];
  /** Unit identities. */
  faces: Float32Array[];
}

export class EditBench {
  readonly factors: string[];
  readonly cats: StyleClip;
  static open(sweepCats: number): Promise<EditBench>;
  litter(count: number, seed: number): Promise<Litter>;
  measure(name: string, edit: Omit<CardEdit, keyof Measured>, litter: Litter): Promise<Measured>;
  edited(edit: Omit<CardEdit, keyof Measured>, latents: Latents): Promise<Images>;
  judged(
    name: string,
    edit: Pick<CardEdit, 'target' | 'neutral' | 'factor'>,
    litter: Litter,
    images: Images,
  ): Promise<{ card: Measured; nearer: number[]; alike: number[] }>;
  close(): Promise<void>;
}
