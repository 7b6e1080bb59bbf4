/* The additions around the products of a four-fold fast convolution: `split` before them, `join` after.
 *
 * The method, its source and its conventions are in `fast_conv.py`. A chunk is `dilation` frames of all
 * channels, `width` values that lie side by side; a tile is four chunks. Memory limits both functions: each
 * reads its input once and writes its output once. No branch of the inner loops depends on data, so that a
 * C compiler turns them into vector code.
 */

#define PRODUCTS 9

static inline float leaky(float x, float slope)
{
    return x > 0.0f ? x : x * slope;
}

static inline long least(long a, long b)
{
    return a < b ? a : b;
}

/* Write the nine input signals of `tiles` tiles. `x` has `length` values, of which `before` are missing in front:
 * values outside are zero. `spare` holds 7 * width values. Signal p of tile i starts at out + p * step + i * width. */
void split(const float *x, float *out, float *spare, long length, long before, long width, long tiles, long step,
           float slope)
{
    for (long i = 0; i < tiles; i++) {
        const float *in[7];
        for (int j = 0; j < 7; j++) {
            const long at = (4 * i + j) * width - before;
            if (at >= 0 && at + width <= length) {
                in[j] = x + at;
                continue;
            }
            float *copy = spare + j * width;
            for (long c = 0; c < width; c++)
                copy[c] = at + c >= 0 && at + c < length ? x[at + c] : 0.0f;
            in[j] = copy;
        }
        const float *restrict x0 = in[0], *restrict x1 = in[1], *restrict x2 = in[2], *restrict x3 = in[3],
                    *restrict x4 = in[4], *restrict x5 = in[5], *restrict x6 = in[6];
        float *restrict o0 = out + i * width, *restrict o1 = o0 + step, *restrict o2 = o1 + step,
              *restrict o3 = o2 + step, *restrict o4 = o3 + step, *restrict o5 = o4 + step, *restrict o6 = o5 + step,
              *restrict o7 = o6 + step, *restrict o8 = o7 + step;
#pragma GCC ivdep
        for (long c = 0; c < width; c++) {
            const float d2 = leaky(x2[c], slope), d3 = leaky(x3[c], slope), d4 = leaky(x4[c], slope);
            const float a0 = leaky(x0[c], slope) - d2, a1 = leaky(x1[c], slope) - d3, a2 = d2 - d4;
            const float b1 = leaky(x5[c], slope) - d3, b2 = leaky(x6[c], slope) - d4;
            o0[c] = a0 - a1;
            o1[c] = a1;
            o2[c] = a2 - a1;
            o3[c] = d2 - d3;
            o4[c] = d3;
            o5[c] = d4 - d3;
            o6[c] = -a2 - b1;
            o7[c] = b1;
            o8[c] = b2 - b1;
        }
    }
}

/* Add up the nine products of `tiles` tiles, and `added` unless it is null, into `y` of `length` values.
 * `spare` holds 4 * width values. */
void join(const float *const *products, const float *added, float *y, float *spare, long length, long width,
          long tiles)
{
    for (long i = 0; i < tiles; i++) {
        const float *m[PRODUCTS];
        for (int p = 0; p < PRODUCTS; p++)
            m[p] = products[p] + i * width;
        const float *restrict m0 = m[0], *restrict m1 = m[1], *restrict m2 = m[2], *restrict m3 = m[3],
                    *restrict m4 = m[4], *restrict m5 = m[5], *restrict m6 = m[6], *restrict m7 = m[7],
                    *restrict m8 = m[8];
        const long at = 4 * i * width, end = least(4 * width, length - at);
        float *to = end == 4 * width ? y + at : spare;
#pragma GCC ivdep
        for (long c = 0; c < width; c++) {
            const float s0 = m0[c] + m3[c], s1 = m1[c] + m4[c], s2 = m2[c] + m5[c];
            const float t0 = m3[c] + m6[c], t1 = m4[c] + m7[c], t2 = m5[c] + m8[c];
            to[c] = s0 + s1;
            to[width + c] = s1 + s2;
            to[2 * width + c] = t0 + t1;
            to[3 * width + c] = t1 + t2;
        }
        float *last = y + at;
        if (to == spare)
            for (long c = 0; c < end; c++)
                last[c] = to[c];
        if (added)
            for (long c = 0; c < end; c++)
                last[c] += added[at + c];
    }
}
