/* What a table learns of the cells that it has coded: `CodingTable.settle` of codecs/entropy.py, with the same integers
 * and the same few operations in double precision. Only contexts that were met since the last time are looked at. */
#include "coder.h"

#include <string.h>

enum { SEEN = 64, SHARE = 1 << 16 }; /* as in codecs/entropy.py */

const int64_t *counts_of(const Table *table, int64_t context) {
    const int64_t *prior = table->prior + context * table->bins, *learned = table->learned + context * table->bins;
    if (!table->settled)
        return prior;
    for (int64_t bin = 0; bin < table->bins; bin++) {
        const int64_t corrected = (int64_t)((double)prior[bin] * table->ratios[bin]);
        table->counts[bin] = SEEN * learned[bin] + (corrected > 1 ? corrected : 1);
    }
    return table->counts;
}

/* Move the cells seen in a context to those learned, observed and expected. */
static void gather(Table *table, int64_t context) {
    const int64_t bins = table->bins, *shares = table->shares + context * bins;
    int64_t *seen = table->seen + context * bins, *learned = table->learned + context * bins, sum = 0;
    for (int64_t bin = 0; bin < bins; bin++) {
        learned[bin] += seen[bin];
        table->observed[bin] += seen[bin];
        sum += seen[bin];
        seen[bin] = 0;
    }
    for (int64_t bin = 0; bin < bins; bin++)
        table->expected[bin] += sum * shares[bin];
}

EXPORT int atlasae_learn(Table *table) {
    for (int64_t context = 0; context < table->contexts; context++)
        if (table->known[context])
            gather(table, context);
    for (int64_t bin = 0; bin < table->bins; bin++) {
        const int64_t faith = table->faith[bin];
        table->ratios[bin] = (double)(table->observed[bin] * SHARE + faith) / (double)(table->expected[bin] + faith);
    }
    memset(table->known, 0, (size_t)table->contexts);
    table->settled = 1;
    return DONE;
}
