// The functions of the addon, one file per group; addon.cpp puts them together.
#pragma once

#include "setup.h"

namespace styleclip::binding {

void export_archives(Napi::Env env, Napi::Object exports);   // describe, make, load, runMethod
void export_importing(Napi::Env env, Napi::Object exports);  // inspectCheckpoint, findModel, writeModel, readData
void export_generator(Napi::Env env, Napi::Object exports);  // sample, mapping, truncate, styles, synthesize
/// encodeText, encodeImage, textDirection, embed, encode, perceptualDistance, map
void export_encoders(Napi::Env env, Napi::Object exports);
void export_relevance(Napi::Env env, Napi::Object exports);  // statistics, sweep
void export_sharding(Napi::Env env,
                     Napi::Object exports);                // openSweep, nextShard, closeSweep, sweepPlan, mergeSweep
void export_editing(Napi::Env env, Napi::Object exports);  // globalDirection, edit
/// openOptimizer, advanceOptimizer, optimizerState, restoreOptimizer, optimizerLatents, closeOptimizer
void export_optimizing(Napi::Env env, Napi::Object exports);
/// openEncoderTraining, advanceEncoderTraining, validateEncoder, encoderTrainingState, restoreEncoderTraining,
/// writeTrainedEncoder, closeEncoderTraining
void export_encoder_training(Napi::Env env, Napi::Object exports);
/// openInverter, advanceInverter, inverterResult, inverterState, restoreInverter, closeInverter; the same of the tuner;
/// applyDifference, synthesizeNoise
void export_inverting(Napi::Env env, Napi::Object exports);
/// openMapperTraining, advanceMapperTraining, mapperTrainingState, restoreMapperTraining, writeTrainedMapper,
/// closeMapperTraining
void export_mapper_training(Napi::Env env, Napi::Object exports);
void export_process(Napi::Env env, Napi::Object exports);  // versions, configure, devices, createCancel, drain, pending
/// testJob, only with STYLECLIP_TEST_HOOKS=1 in the environment.
void export_test_hooks(Napi::Env env, Napi::Object exports);

}  // namespace styleclip::binding
