// The package's door: exports only.

export { describeArchive, makeArchive, Module } from './archive.js';
export type { ArchiveInfo, MadeArchive, MakeOptions, Tensor } from './archive.js';
export { Clip } from './clip.js';
export type {
  ClipInfo,
  Embeddings,
  EncodeImagesOptions,
  EncodeTextOptions,
  TextDirectionOptions,
  TokenizeOptions,
} from './clip.js';
export { configure } from './configure.js';
export type { ConfigureOptions, Logger } from './configure.js';
export { GlobalDirection, TextDirection } from './direction.js';
export type { DirectionChannel, DirectionMeta, GlobalDirectionLike, TextDirectionLike } from './direction.js';
export { EditBatch } from './edit.js';
export type { EditedImage } from './edit.js';
export { Encoder } from './encoder.js';
export type { EncoderInfo } from './encoder.js';
export { ERROR_MEANINGS, StyleClipError } from './errors.js';
export type { ErrorCode, ErrorName, StyleClipErrorOptions } from './errors.js';
export { Generator } from './generator.js';
export type { GeneratorInfo } from './generator.js';
export { Identity } from './identity.js';
export type { IdentityInfo } from './identity.js';
export { Images } from './images.js';
export type { ContactSheetOptions, ImagesLike, ImageSource } from './images.js';
export { Latents } from './latents.js';
export type { LatentsLike, LatentsMeta } from './latents.js';
export { PRESETS } from './presets.js';
export type { Preset, PresetName } from './presets.js';
export { Relevance } from './relevance.js';
export type { DirectionOptions, ImportOptions, RelevanceLike, RelevanceMeta } from './relevance.js';
export { devices, versions } from './runtime.js';
export { StyleClip } from './styleclip.js';
export type { LoadOptions } from './styleclip.js';
export { IMAGENET_TEMPLATES } from './templates.js';
export { Tokenizer } from './tokenizer/tokenizer.js';
export type { TokenizedText, Tokens } from './tokenizer/tokenizer.js';
export type * from './types.js';
export { strengthVideo } from './video.js';
export type { VideoOptions } from './video.js';
