// The one place that includes Node-API, so that every file of the binding sees the same settings.
//
// - Version 9 of Node-API: Node 20.19 and later.
// - Any C++ exception becomes a JavaScript one (..._ALL): with node-addon-api's default only Napi::Error is caught, and a
//   c10::Error that leaves a callback ends the process.
// - An exception that cannot be thrown, because its environment (a worker) is being terminated, is swallowed; without
//   that, terminating a worker inside one of our callbacks ends the process.
// - Finalizers run inside the garbage collector: the compiler refuses one that could call JavaScript.
#pragma once

#ifndef NAPI_VERSION
#define NAPI_VERSION 9
#endif
#ifndef NODE_ADDON_API_CPP_EXCEPTIONS_ALL
#define NODE_ADDON_API_CPP_EXCEPTIONS_ALL
#endif
#ifndef NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#endif
#ifndef NODE_ADDON_API_DISABLE_DEPRECATED
#define NODE_ADDON_API_DISABLE_DEPRECATED
#endif
#ifndef NODE_ADDON_API_REQUIRE_BASIC_FINALIZERS
#define NODE_ADDON_API_REQUIRE_BASIC_FINALIZERS
#endif

#include <napi.h>
