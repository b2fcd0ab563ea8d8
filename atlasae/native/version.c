/* Of which sources this library was made: library.py does not load one of others. */
#include "export.h"

#ifndef ATLASAE_SOURCES
#define ATLASAE_SOURCES "unknown"
#endif

EXPORT const char atlasae_sources[] = ATLASAE_SOURCES;
