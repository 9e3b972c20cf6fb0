import type { Images, Latents, Relevance, StyleClip } from 'styleclip';

/** How an edit is made. */
export interface Setting {
  /** The text that the direction starts from, where it is not the edit's neutral one. */
  from?: string;
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

/** The bar of one cat: σ of the asked factor, and identity similarity. */
export const BAR: { sigma: number; identity: number };

/** What the readers say of edited pictures. */
export interface Judged {
  card: Measured;
  /** Of each cat: how much nearer to its goal the factor came, in σ. */
  nearer: number[];
  /** Of each cat: cosine of its identities before and after. */
  alike: number[];
  /** Of each cat: how far the other factors moved, either way, the mean in σ. */
  elsewhere: number[];
}

export interface Litter {
  latents: Latents;
  /** The judge's reading, [cats][factors]. */
  told: number[][];
  /** Unit embeddings by the judging CLIP. */
  embedded: Float32Array[];
  /** Unit identities. */
  faces: Float32Array[];
  /** Standard deviation of each factor over the whole litter. */
  spread: number[];
}

export class EditBench {
  readonly factors: string[];
  readonly cats: StyleClip;
  static open(sweepCats: number): Promise<EditBench>;
  /** The sweep behind directions, made once. */
  relevances(): Promise<Record<'all' | 'conv', Relevance>>;
  litter(count: number, seed: number): Promise<Litter>;
  withRoom(name: string, edit: Pick<CardEdit, 'factor'>, litter: Litter, most?: number): Litter;
  measure(name: string, edit: Omit<CardEdit, keyof Measured>, litter: Litter): Promise<Measured>;
  edited(edit: Omit<CardEdit, keyof Measured>, latents: Latents): Promise<Images>;
  judged(
    name: string,
    edit: Pick<CardEdit, 'target' | 'neutral' | 'factor'>,
    litter: Litter,
    images: Images,
  ): Promise<Judged>;
  close(): Promise<void>;
}
