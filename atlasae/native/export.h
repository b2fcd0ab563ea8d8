/* What a shared library exports. */
#ifndef ATLASAE_EXPORT_H
#define ATLASAE_EXPORT_H

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#endif
