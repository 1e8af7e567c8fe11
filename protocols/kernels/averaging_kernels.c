/* The vector work of a round of averaging, one pass over memory for each step. Compiled with -ffp-contract=off: every operation rounds as
 * numpy's does, in the same order, so that the results are equal to those of protocols/averaging/vector_arithmetic.py bit for bit. */

#include <stddef.h>

#define BLOCK 1024 /* numbers: what a block needs stays in the first-level cache */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VECTORISED __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define VECTORISED
#endif

const char *source_digest(void) { return SOURCE_DIGEST; }

/* delta = sum_j weights[j] (others[j] - own) */
#define WEIGHTED_DIFFERENCES(NAME, REAL)                                                                                          \
    VECTORISED void NAME(const REAL *own, const REAL *const *others, const double *weights, int count, double *delta, ptrdiff_t size) { \
        for (ptrdiff_t start = 0; start < size; start += BLOCK) {                                                                 \
            ptrdiff_t end = start + BLOCK < size ? start + BLOCK : size;                                                          \
            const REAL *first = others[0];                                                                                        \
            double weight = weights[0];                                                                                           \
            for (ptrdiff_t i = start; i < end; i++) delta[i] = ((double)first[i] - (double)own[i]) * weight;                      \
            for (int j = 1; j < count; j++) {                                                                                     \
                const REAL *other = others[j];                                                                                    \
                weight = weights[j];                                                                                              \
                for (ptrdiff_t i = start; i < end; i++) delta[i] += ((double)other[i] - (double)own[i]) * weight;                 \
            }                                                                                                                     \
        }                                                                                                                         \
    }
WEIGHTED_DIFFERENCES(weighted_differences_f4, float)
WEIGHTED_DIFFERENCES(weighted_differences_f8, double)

/* y += w (x - z); z = x; then for each gift: after = before + part y (y before all gifts; before null: part y), rounded to the type of the
 * sum, and y -= times (after - before). */
#define GIVE(NAME, X, S)                                                                                                          \
    VECTORISED void NAME(const X *x, double *y, double *z, double w, double part, int count, const S *const *before,              \
                         S *const *after, const double *times, ptrdiff_t size) {                                                  \
        double gift[BLOCK];                                                                                                       \
        for (ptrdiff_t start = 0; start < size; start += BLOCK) {                                                                 \
            ptrdiff_t length = start + BLOCK < size ? BLOCK : size - start;                                                       \
            double *yy = y + start, *zz = z + start;                                                                              \
            const X *xx = x + start;                                                                                              \
            for (ptrdiff_t i = 0; i < length; i++) {                                                                              \
                yy[i] += ((double)xx[i] - zz[i]) * w;                                                                             \
                zz[i] = (double)xx[i];                                                                                            \
            }                                                                                                                     \
            for (ptrdiff_t i = 0; i < length; i++) gift[i] = yy[i] * part;                                                        \
            for (int j = 0; j < count; j++) {                                                                                     \
                S *new = after[j] + start;                                                                                        \
                double copies = times[j];                                                                                         \
                if (before[j] == NULL) {                                                                                          \
                    for (ptrdiff_t i = 0; i < length; i++) {                                                                      \
                        S rounded = (S)gift[i];                                                                                   \
                        new[i] = rounded;                                                                                         \
                        yy[i] -= (double)rounded * copies;                                                                        \
                    }                                                                                                             \
                } else {                                                                                                          \
                    const S *old = before[j] + start;                                                                             \
                    for (ptrdiff_t i = 0; i < length; i++) {                                                                      \
                        S rounded = (S)((double)old[i] + gift[i]);                                                                \
                        new[i] = rounded;                                                                                         \
                        yy[i] -= ((double)rounded - (double)old[i]) * copies;                                                     \
                    }                                                                                                             \
                }                                                                                                                 \
            }                                                                                                                     \
        }                                                                                                                         \
    }
GIVE(give_f4_f4, float, float)
GIVE(give_f4_f8, float, double)
GIVE(give_f8_f4, double, float)
GIVE(give_f8_f8, double, double)

/* y += total - before for each (before null: total); delta = scale y - z; z = scale y */
#define TAKE(NAME, S)                                                                                                             \
    VECTORISED void NAME(double *y, double *z, double scale, int count, const S *const *totals, const S *const *before,           \
                         double *delta, ptrdiff_t size) {                                                                         \
        for (ptrdiff_t start = 0; start < size; start += BLOCK) {                                                                 \
            ptrdiff_t length = start + BLOCK < size ? BLOCK : size - start;                                                       \
            double *yy = y + start, *zz = z + start, *change = delta + start;                                                     \
            for (int j = 0; j < count; j++) {                                                                                     \
                const S *total = totals[j] + start;                                                                               \
                if (before[j] == NULL) {                                                                                          \
                    for (ptrdiff_t i = 0; i < length; i++) yy[i] += (double)total[i];                                             \
                } else {                                                                                                          \
                    const S *old = before[j] + start;                                                                             \
                    for (ptrdiff_t i = 0; i < length; i++) yy[i] += (double)total[i] - (double)old[i];                            \
                }                                                                                                                 \
            }                                                                                                                     \
            for (ptrdiff_t i = 0; i < length; i++) {                                                                              \
                double model = yy[i] * scale;                                                                                     \
                change[i] = model - zz[i];                                                                                        \
                zz[i] = model;                                                                                                    \
            }                                                                                                                     \
        }                                                                                                                         \
    }
TAKE(take_f4, float)
TAKE(take_f8, double)
