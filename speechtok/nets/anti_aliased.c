/* Anti-aliased SnakeBeta in one pass over memory: up-sample by 2, activate, down-sample by 2.
 *
 * The plain form of this computation is in `anti_aliased.py`, which also gives its source and its
 * conventions. Here each row is worked on in blocks that stay in the first-level cache; a block
 * computes the even and the odd phase of the up-sampled signal, activates both, and sums them into
 * the output. No branch depends on data, so that a C compiler turns every loop into vector code.
 */

#define BLOCK 512
#define LANES (BLOCK + 16) /* up-sampled positions per phase: the block, 3 before, 3 after, rounded up */

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

/* Rows `first` to `stop` of x and y, each (rows, frames), row = batch * channels + channel.
 * valid: NULL, or for each batch item the frames that count; y is 0 after them. */
void anti_aliased_snake(const float *restrict x, float *restrict y, const float *restrict scale,
                        const float *restrict gain, const float *restrict up, const float *restrict down,
                        long channels, long frames, const long *restrict valid, long first, long stop)
{
    float in[LANES + 16], even[LANES], odd[LANES];
    for (long row = first; row < stop; row++) {
        const float *restrict source = x + row * frames;
        float *restrict target = y + row * frames;
        const float a = scale[row % channels], b = gain[row % channels];
        const long n = valid ? valid[row / channels] : frames;
        for (long start = 0; start < n; start += BLOCK) {
            /* lane k of `even` and `odd` is up-sampled position start - 3 + k; `in` starts at start - 6 */
            if (start >= 6 && start - 6 + LANES + 16 <= n)
                __builtin_memcpy(in, source + start - 6, sizeof in);
            else
                for (long k = 0; k < LANES + 16; k++)
                    in[k] = source[clamp(start - 6 + k, n - 1)];
            for (long k = 0; k < LANES; k++) {
                float e = 0.0f, o = 0.0f;
                for (int i = 0; i < 6; i++) {
                    e += up[11 - 2 * i] * in[k + i];
                    o += up[10 - 2 * i] * in[k + i + 1];
                }
                even[k] = 2.0f * e + b * sine_squared(2.0f * e * a);
                odd[k] = 2.0f * o + b * sine_squared(2.0f * o * a);
            }
            for (long k = 0; start - 3 + k < 0; k++)
                even[k] = odd[k] = even[3 - start];
            for (long k = n - start + 3; k < LANES; k++)
                even[k] = odd[k] = odd[n - start + 2];
            const long count = n - start < BLOCK ? n - start : BLOCK;
            if (count == BLOCK)
                for (long j = 0; j < BLOCK; j++) {
                    float sum = 0.0f;
                    for (int i = 0; i < 6; i++)
                        sum += down[2 * i + 1] * even[j + i + 1] + down[2 * i] * odd[j + i];
                    target[start + j] = sum;
                }
            else
                for (long j = 0; j < count; j++) {
                    float sum = 0.0f;
                    for (int i = 0; i < 6; i++)
                        sum += down[2 * i + 1] * even[j + i + 1] + down[2 * i] * odd[j + i];
                    target[start + j] = sum;
                }
        }
        for (long j = n; j < frames; j++)
            target[j] = 0.0f;
    }
}
