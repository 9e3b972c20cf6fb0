// The package's door: exports only.

export type { Agreement, AgreementOptions, DirectionAgreement } from './agreement.js';
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
export { importCheckpoint, inspectCheckpoint } from './importing.js';
export type {
  CheckpointInfo,
  CheckpointKind,
  CheckpointPart,
  CheckpointSource,
  ImportCheckpointOptions,
  ImportedModel,
} from './importing.js';
export { readBoundary, readComponents } from './latent-directions.js';
export type { LatentComponents, LatentDirection, LatentDirectionOptions } from './latent-directions.js';
export { Latents } from './latents.js';
export type { LatentsLike, LatentsLoadOptions, LatentsMeta, MoveOptions } from './latents.js';
export type { EncoderTrainingOptions } from './encoder-settings.js';
export type { EncoderLoss, EncoderTrainingResult, EncoderValidation } from './encoder-training.js';
export type { InversionMethod, InvertOptions } from './inversion-settings.js';
export type { InversionCurves, InvertedPicture, InvertResult, TuningCurves } from './inversion.js';
export { loadDifference, NoiseMaps, saveDifference } from './noise-maps.js';
export type { GeneratorDifference, NoiseMap } from './noise-maps.js';
export { Perceptual } from './perceptual.js';
export type { OptimizeOptions } from './optimize-settings.js';
export type { LossCurves, OptimizedProblem, OptimizeResult } from './optimize.js';
export { Mapper } from './mapper.js';
export type { MapOptions, MapperInfo } from './mapper.js';
export type { MapperLevel, TrainMapperOptions } from './mapper-settings.js';
export type { MapperLogLine } from './mapper-state.js';
export { PRESETS } from './presets.js';
export type { Preset, PresetName } from './presets.js';
export { Relevance } from './relevance.js';
export type { DirectionOptions, ImportOptions, RelevanceTarget } from './relevance.js';
export type { MeasuredAgreement, RelevanceLike, RelevanceMeta } from './relevance-meta.js';
export { devices, versions } from './runtime.js';
export type { Screening, ScreenOptions } from './screening.js';
export { readStyleStatistics, writeStyleStatistics } from './styleclip-data.js';
export type { ReadStatisticsOptions } from './styleclip-data.js';
export { StyleClip } from './styleclip.js';
export type { LoadOptions } from './styleclip.js';
export type { SweepShard } from './sweep-shards.js';
export { IMAGENET_TEMPLATES } from './templates.js';
export { Tokenizer } from './tokenizer/tokenizer.js';
export type { TokenizedText, Tokens } from './tokenizer/tokenizer.js';
export type * from './types.js';
export { strengthVideo } from './video.js';
export type { VideoOptions } from './video.js';
