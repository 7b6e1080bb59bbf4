/* Anti-aliased SnakeBeta in one pass over memory: up-sample by 2, activate, down-sample by 2.
 *
 * The plain form of this computation is in `anti_aliased.py`, which also gives its source and its
 * conventions. Here the signal, (batch, frames, channels), is worked on in blocks of frames and groups
 * of 16 channels that stay in the first-level cache: a block computes the even and the odd phase of the
 * up-sampled signal, activates both, and sums them into the output. Loops over a group have a fixed
 * length and no branch depends on data, so that a C compiler turns them into vector code.
 */

#define BLOCK 128
#define GROUP 16
#define LANES (BLOCK + 6) /* up-sampled positions per phase: the block, 3 before, 3 after */
#define REACH (BLOCK + 12) /* frames of input: 6 before, 6 after */

static inline float sine_squared(float z)
{
    /* sin^2 has period pi: reduce to [-pi/2, pi/2], where an odd polynomial errs by less than 3e-8 */
    const float turns = __builtin_rintf(z * 0.31830988618379067f);
    float r = z - turns * 3.1415927410125732f;
    r = r + turns * 8.7422776573475858e-8f;
    const float q = r * r;
    const float p = (((2.590167241578456e-06f * q - 0.00019800738664343953f) * q + 0.00833289697766304f) * q
                     - 0.16666647791862488f) * q;
    const float s = r + r * p;
    return s * s;
}

static inline long clamp(long i, long last)
{
    return i < 0 ? 0 : (i > last ? last : i);
}

static void copy_frame(float *restrict to, const float *restrict from)
{
    for (int c = 0; c < GROUP; c++)
        to[c] = from[c];
}

/* One block of one group, all `width` <= GROUP channels of it. `n` frames count; `start` < n. */
static void activate(const float *restrict x, float *restrict y, const float *restrict scale,
                     const float *restrict gain, const float *restrict up, const float *restrict down,
                     long channels, int width, long n, long start)
{
    float in[REACH][GROUP], even[LANES][GROUP], odd[LANES][GROUP], out[GROUP], a[GROUP], b[GROUP];
    for (int c = 0; c < GROUP; c++) {
        a[c] = c < width ? scale[c] : 0.0f;
        b[c] = c < width ? gain[c] : 0.0f;
    }
    /* lane k of `even` and `odd` is up-sampled position start - 3 + k; `in` starts at start - 6 */
    for (long k = 0; k < REACH; k++) {
        const float *from = x + clamp(start - 6 + k, n - 1) * channels;
        if (width == GROUP)
            copy_frame(in[k], from);
        else
            for (int c = 0; c < GROUP; c++)
                in[k][c] = c < width ? from[c] : 0.0f;
    }
    for (long k = 0; k < LANES; k++)
        for (int c = 0; c < GROUP; c++) {
            const float e = 2.0f * (up[11] * in[k][c] + up[9] * in[k + 1][c] + up[7] * in[k + 2][c]
                                    + up[5] * in[k + 3][c] + up[3] * in[k + 4][c] + up[1] * in[k + 5][c]);
            const float o = 2.0f * (up[10] * in[k + 1][c] + up[8] * in[k + 2][c] + up[6] * in[k + 3][c]
                                    + up[4] * in[k + 4][c] + up[2] * in[k + 5][c] + up[0] * in[k + 6][c]);
            even[k][c] = e + b[c] * sine_squared(e * a[c]);
            odd[k][c] = o + b[c] * sine_squared(o * a[c]);
        }
    for (long k = 0; start - 3 + k < 0; k++) {
        copy_frame(even[k], even[3 - start]);
        copy_frame(odd[k], even[3 - start]);
    }
    for (long k = n - start + 3; k < LANES; k++) {
        copy_frame(even[k], odd[n - start + 2]);
        copy_frame(odd[k], odd[n - start + 2]);
    }
    const long count = n - start < BLOCK ? n - start : BLOCK;
    for (long j = 0; j < count; j++) {
        float *restrict to = y + (start + j) * channels;
        for (int c = 0; c < GROUP; c++)
            out[c] = down[0] * odd[j][c] + down[1] * even[j + 1][c] + down[2] * odd[j + 1][c]
                     + down[3] * even[j + 2][c] + down[4] * odd[j + 2][c] + down[5] * even[j + 3][c]
                     + down[6] * odd[j + 3][c] + down[7] * even[j + 4][c] + down[8] * odd[j + 4][c]
                     + down[9] * even[j + 5][c] + down[10] * odd[j + 5][c] + down[11] * even[j + 6][c];
        if (width == GROUP)
            copy_frame(to, out);
        else
            for (int c = 0; c < width; c++)
                to[c] = out[c];
    }
}

/* Blocks `first` to `stop` of a contiguous (batch, frames, channels); a batch item has
 * ceil(frames / 128) blocks. valid: NULL, or for each item the frames that count; y is 0 after them. */
void anti_aliased_snake(const float *restrict x, float *restrict y, const float *restrict scale,
                        const float *restrict gain, const float *restrict up, const float *restrict down,
                        long channels, long frames, const long *restrict valid, long first, long stop)
{
    const long blocks = (frames + BLOCK - 1) / BLOCK;
    for (long block = first; block < stop; block++) {
        const long item = block / blocks, start = block % blocks * BLOCK;
        const long n = valid ? valid[item] : frames;
        const float *source = x + item * frames * channels;
        float *target = y + item * frames * channels;
        for (long c = 0; c < channels && start < n; c += GROUP)
            activate(source + c, target + c, scale + c, gain + c, up, down, channels,
                     channels - c < GROUP ? (int)(channels - c) : GROUP, n, start);
        const long end = start + BLOCK < frames ? start + BLOCK : frames;
        for (long j = (n > start ? n : start) * channels; j < end * channels; j++)
            target[j] = 0.0f;
    }
}
