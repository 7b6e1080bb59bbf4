/* What FunCodec computes between its convolutions: group norm, activation and padding in one pass, and the LSTM.
 *
 * The meaning of all arguments is in `kernels.py`; the same computations in plain torch are in `convolutions.py`
 * and `layers.py`. All of this waits for memory, not for arithmetic. Loops run over LANES channels at a time and no
 * branch depends on data; sums are taken in an order that depends on the sizes of one utterance only.
 */

#include <string.h>

#define LANES 16
#define GATES 4 /* input, forget, candidate, output */
#define AHEAD (16 * GATES * LANES) /* floats by which the LSTM's weights are fetched ahead */
#define BLOCK 4096 /* values whose mean is taken at once */

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int bits __attribute__((vector_size(4 * LANES)));

static inline lanes load(const float *from)
{
    lanes v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline void store(float *to, lanes v)
{
    memcpy(to, &v, sizeof v);
}

static inline lanes choose(bits which, lanes yes, lanes no)
{
    return (lanes)((which & (bits)yes) | (~which & (bits)no));
}

/* e^x - 1, with x held in [-87, 87]: x = k ln 2 + r with |r| <= ln(2) / 2, a polynomial in r, and 2^k by its bits */
static inline lanes exponential_less_1(lanes x)
{
    x = choose(x > 87.0f, (lanes){} + 87.0f, x);
    x = choose(x < -87.0f, (lanes){} - 87.0f, x);
    const lanes k = x * 1.44269504088896341f + 12582912.0f - 12582912.0f; /* rounds to an integer */
    const lanes r = x - k * 0.693359375f + k * 2.12194440e-4f;
    const lanes p = (((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r
                      + 1.6666665459e-1f) * r + 5.0000001201e-1f) * r * r + r;
    const lanes power = (lanes)((__builtin_convertvector(k, bits) + 127) << 23);
    return power * p + (power - 1.0f);
}

static inline lanes elu(lanes x)
{
    return choose(x > 0.0f, x, exponential_less_1(x));
}

static inline lanes sigmoid(lanes x)
{
    return 1.0f / (2.0f + exponential_less_1(-x));
}

static inline lanes hyperbolic_tangent(lanes x)
{
    const lanes e = exponential_less_1(2.0f * x);
    return e / (e + 2.0f);
}

/* Mean and summed squared deviation of blocks `first` to `stop` of `count` values, a multiple of LANES. */
void moments(const float *restrict x, double *restrict found, long count, long first, long stop)
{
    for (long block = first; block < stop; block++) {
        const float *from = x + block * BLOCK;
        const long n = count - block * BLOCK < BLOCK ? count - block * BLOCK : BLOCK;
        lanes sum[4] = {}, squares[4] = {};
        for (long i = 0; i < n; i += LANES)
            sum[i / LANES % 4] += load(from + i);
        sum[0] += sum[1] + sum[2] + sum[3];
        double total = 0.0;
        for (int lane = 0; lane < LANES; lane++)
            total += sum[0][lane];
        const float mean = (float)(total / n);
        for (long i = 0; i < n; i += LANES) {
            const lanes deviation = load(from + i) - mean;
            squares[i / LANES % 4] += deviation * deviation;
        }
        squares[0] += squares[1] + squares[2] + squares[3];
        double square = 0.0;
        for (int lane = 0; lane < LANES; lane++)
            square += squares[0][lane];
        const double rest = total / n - mean;
        found[2 * block] = total / n;
        found[2 * block + 1] = square - n * rest * rest;
    }
}

static inline long mirrored(long at, long size)
{
    at = at < 0 ? -at : at;
    return at < size ? at : 2 * (size - 1) - at;
}

/* Rows `first` to `stop` of rows * columns places of `channels` values each: the sum of one or two terms, each
 * scaled and shifted by channel, through ELU where `active`, with mirrored ends. b may be NULL. */
void settle(const float *restrict a, const float *restrict a_scale, const float *restrict a_shift, long a_pitch,
            const float *restrict b, const float *restrict b_scale, const float *restrict b_shift, long b_pitch,
            float *restrict out, long channels, long height, long width, long top, long left, long columns,
            long active, long first, long stop)
{
    long row = first / columns, column = first % columns;
    for (long place = first; place < stop; place++) {
        const long y = mirrored(row - top, height), x = mirrored(column - left, width);
        const float *from = a + y * a_pitch + x * channels;
        const float *also = b ? b + y * b_pitch + x * channels : 0;
        float *to = out + place * channels;
        for (long c = 0; c < channels; c += LANES) {
            lanes v = load(from + c) * load(a_scale + c) + load(a_shift + c);
            if (also)
                v += load(also + c) * load(b_scale + c) + load(b_shift + c);
            store(to + c, active ? elu(v) : v);
        }
        if (++column == columns) {
            column = 0;
            row++;
        }
    }
}

/* What an LSTM layer costs is reading its recurrent weights once per frame, so they lie in the order in which they
 * are read, and the four gates of LANES cells become the cells' next state without leaving the registers. */
void lstm(const float *restrict weights, const float *restrict inputs, float *restrict states,
          float *restrict cells, long frames, long channels)
{
    for (long t = 0; t < frames; t++, inputs += GATES * channels)
        for (long first = 0; first < channels; first += LANES) {
            const float *w = weights + first * channels * GATES, *in = inputs + first * GATES;
            lanes i = load(in), f = load(in + LANES), g = load(in + 2 * LANES), o = load(in + 3 * LANES);
            lanes i2 = {}, f2 = {}, g2 = {}, o2 = {};
            const float *before = states + (t - 1) * channels;
            for (long k = 0; t > 0 && k < channels; k += 2, w += 2 * GATES * LANES) {
                for (int line = 0; line < 2 * GATES; line++)
                    __builtin_prefetch(w + AHEAD + line * LANES);
                i += before[k] * load(w);
                f += before[k] * load(w + LANES);
                g += before[k] * load(w + 2 * LANES);
                o += before[k] * load(w + 3 * LANES);
                i2 += before[k + 1] * load(w + 4 * LANES);
                f2 += before[k + 1] * load(w + 5 * LANES);
                g2 += before[k + 1] * load(w + 6 * LANES);
                o2 += before[k + 1] * load(w + 7 * LANES);
            }
            const lanes cell = sigmoid(f + f2) * load(cells + first) + sigmoid(i + i2) * hyperbolic_tangent(g + g2);
            store(cells + first, cell);
            store(states + t * channels + first, sigmoid(o + o2) * hyperbolic_tangent(cell));
        }
}
