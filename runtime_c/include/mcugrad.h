/* mcugrad runtime: int8 inference and integer training kernels.
 *
 * Layouts: activations and errors CHW (batch 1), weights OIHW, 1-D data is H = 1.
 * Types: s8 tensors are int8 with one (scale, zero_point) each; weights are int8 with a scale per output channel, and
 * symmetric except in the kernels called asymmetric; biases are int32 in units of x_scale * w_scale[c]. NUMERICS.md gives
 * every formula.
 * No kernel allocates, calls libm, or touches memory other than its arguments. No pointer needs more than its type's
 * alignment. Unless a contract says otherwise the output must not overlap an input.
 */
#ifndef MCUGRAD_H
#define MCUGRAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define restrict __restrict /* C++ has no restrict; undone at the end */
#define MG_ALIGNED(n) alignas(n)
#else
#define MG_ALIGNED(n) _Alignas(n)
#endif

typedef enum { MG_F32 = 0, MG_S8 = 1, MG_S16 = 2 } mg_dtype_t;

/* ---- shapes ------------------------------------------------------------------------------------------------- */

/* A 2-D convolution, also its gradients. Output channel oc reads the input channels of group oc / (out_c / groups).
 * int32 accumulators cannot overflow while k_h * k_w * in_c / groups <= 65,535 (255 * 128 per term); the compiler checks. */
typedef struct {
    int32_t in_c, in_h, in_w, out_c, out_h, out_w;
    int32_t k_h, k_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups;
    int32_t x_zero, y_zero, y_min, y_max; /* y_min/y_max: the int8 range left by a fused Relu/Clip */
} mg_conv2d_t;

/* A pooling window. count_pad: padding counts in the mean (ONNX count_include_pad). */
typedef struct {
    int32_t c, in_h, in_w, out_h, out_w;
    int32_t k_h, k_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int32_t pad_bottom, pad_right; /* for count_pad: the mean counts positions inside the padded input only */
    int32_t count_pad;
    int32_t x_zero, y_zero, y_min, y_max;
} mg_pool2d_t;

/* A box of `outer` x `rows` x `inner` elements seen in two tensors: element (o, r, i) of the box is element
 * o * stride_o + r * stride_r + i of a tensor (strides in elements). Pad, crop, Concat and its slices are boxes. */
typedef struct {
    int32_t outer, rows, inner;
    int32_t src_stride_o, src_stride_r, dst_stride_o, dst_stride_r;
} mg_box_t;

/* A permutation of up to five axes: out[i0,...,i4] = in[i0*stride[0] + ... + i4*stride[4]]; shape is the output's. */
typedef struct {
    int32_t shape[5], stride[5];
} mg_permute_t;

/* ---- forward, int8 ------------------------------------------------------------------------------------------ */

/* y[oc,oy,ox] = requantize(bias[oc] + sum (x - x_zero) * w). Padding is real zero. bias may be NULL.
 * requantize(acc) = round_half_even(clamp((float)acc * scale[oc], y_min - y_zero, y_max - y_zero)) + y_zero,
 * scale[oc] = x_scale * w_scale[oc] / y_scale: onnxruntime's QLinearConv bit for bit. acc + bias wraps. */
void mg_conv2d_s8(const mg_conv2d_t *g, const int8_t *restrict x, const int8_t *restrict w, const int32_t *restrict bias,
                  const float *restrict scale, int8_t *restrict y);
/* What a convolution multiplies, adds and requantises with; see mg_conv2d_s8. */
typedef struct {
    const int8_t *w;
    const int32_t *bias;
    const float *scale;
} mg_weights_t;
/* Where a tensor's rows lie: element (c, r, i) at c * channel + (r % rows) * row + i. CHW: channel = h * w, row = w,
 * rows = h. Rows of all channels together (HCW): channel = w, row = c * w, rows = h. The last k rows in a ring: rows = k. */
typedef struct {
    int32_t channel, row, rows;
} mg_layout_t;
/* A convolution, and how its input and output lie in memory. */
typedef struct {
    mg_conv2d_t conv;
    mg_layout_t x, y;
} mg_conv2d_rows_t;
/* Output rows [first, first + count) of mg_conv2d_s8, groups == 1, with the weights in pairs: K = in_c * k_h * k_w taps
 * in OIHW order, K and out_c rounded up to even with zeros (Kp), weight (o, k) at ((o / 2) * Kp + k) * 2 + o % 2; a word
 * holds two taps of two channels. w->w and scratch are aligned to 4 bytes, w->bias is not NULL.
 * scratch: 4 * Kp int16, four output positions expanded once for all output channels. */
void mg_conv2d_rows_s8(const mg_conv2d_rows_t *g, int32_t first, int32_t count, const int8_t *restrict x,
                       const mg_weights_t *w, int16_t *restrict scratch, int8_t *restrict y);
/* The same where out_c is even and a row has four positions or more; the weights of two channels are widened once for `panels`
 * times four positions. scratch: (4 * panels + 2) * Kp int16. More panels cost fewer instructions. */
void mg_conv2d_strips_s8(const mg_conv2d_rows_t *g, int32_t first, int32_t count, const int8_t *restrict x,
                         const mg_weights_t *w, int32_t panels, int16_t *restrict scratch, int8_t *restrict y);
/* Weights of which a part trains, groups == 1: those of the first n input channels, OIHW in `first`, and those of the others
 * in `pairs`, as a convolution of these alone would have them. n == in_c: there are no others; n == 0: all are others; else
 * n * k_h * k_w is even. */
typedef struct {
    const int8_t *first, *pairs;
    int32_t n;
} mg_split_weights_t;
/* mg_conv2d_s8, groups == 1, of weights that are brought into pairs two channels at a time, once for `panels` times four
 * output positions. w->n > 0, bias is not NULL. scratch, aligned to 4 bytes: (4 * panels + 1) * Kp int16. */
void mg_conv2d_panels_s8(const mg_conv2d_t *g, const int8_t *restrict x, const mg_split_weights_t *w,
                         const int32_t *restrict bias, const float *restrict scale, int32_t panels,
                         int16_t *restrict scratch, int8_t *restrict y);
/* mg_fully_connected_s8 with the weights in pairs as above. scratch: Kp int16. */
void mg_fully_connected_pairs_s8(const mg_conv2d_t *g, const int8_t *restrict x, const mg_weights_t *w,
                                 int16_t *restrict scratch, int8_t *restrict y);
/* Output rows [first, first + count) of mg_conv2d_s8 for groups == in_c, out_c a multiple of in_c; weights OIHW, bias not
 * NULL. One channel is read after the other; where a tile holds all of one (the compiler's in_one_tile), y may lie on channels
 * of x that have been read. scratch is aligned to 4 bytes; the compiler's depthwise_scratch says how much: at most 4 KB for kernels up to
 * 13 x 13 without dilation, whatever the image. */
void mg_depthwise_conv2d_rows_s8(const mg_conv2d_rows_t *g, int32_t first, int32_t count, const int8_t *x,
                                 const mg_weights_t *w, int16_t *restrict scratch, int8_t *y);
/* The same for one position: in_h = in_w = k_h = k_w = out_h = out_w = 1, groups = 1 (Gemm, MatMul). */
void mg_fully_connected_s8(const mg_conv2d_t *g, const int8_t *restrict x, const int8_t *restrict w,
                           const int32_t *restrict bias, const float *restrict scale, int8_t *restrict y);
/* mg_conv2d_s8 of weights with a zero point: the sum is of (x - x_zero) * (w - w_zero[oc]). Any geometry, depthwise and one
 * position among them; simple rather than fast. int32 holds while k_h * k_w * in_c / groups <= 33,025 (255 * 255 per term,
 * checked). */
void mg_conv2d_asymmetric_s8(const mg_conv2d_t *g, const int8_t *restrict x, const int8_t *restrict w,
                             const int8_t *restrict w_zero, const int32_t *restrict bias, const float *restrict scale,
                             int8_t *restrict y);

typedef struct {
    float a_scale, b_scale; /* a_scale/y_scale and b_scale/y_scale */
    int32_t a_zero, b_zero, y_zero, y_min, y_max;
} mg_add_t;
/* y = clamp(round((a - a_zero) * a_scale + (b - b_zero) * b_scale) + y_zero), n elements; y may be a or b, or begin before
 * them by any distance: elements are read and written in ascending order. */
void mg_add_s8(const mg_add_t *g, const int8_t *a, const int8_t *b, int32_t n, int8_t *y);

/* A layer that makes `turn` rows at a time (the last ones may be fewer), taking turns with others. x, other, scratch and y are
 * byte offsets in the arena. An Add has no weights: its operands are x and other, and `rows` says only how they and y lie. */
typedef struct mg_row_stage {
    void (*run)(const struct mg_row_stage *stage, int32_t row, int32_t count, int8_t *arena);
    int32_t turn, panels; /* panels: of mg_conv2d_strips_s8 */
    mg_conv2d_rows_t rows;
    mg_weights_t weights;
    mg_add_t add;
    mg_layout_t other_rows;
    int32_t x, other, scratch, y;
} mg_row_stage_t;
/* Output rows [row, row + count) of the stage. */
void mg_row_stage_conv2d_s8(const mg_row_stage_t *stage, int32_t row, int32_t count, int8_t *arena);
void mg_row_stage_strips_s8(const mg_row_stage_t *stage, int32_t row, int32_t count, int8_t *arena);
void mg_row_stage_depthwise_s8(const mg_row_stage_t *stage, int32_t row, int32_t count, int8_t *arena);
void mg_row_stage_add_s8(const mg_row_stage_t *stage, int32_t row, int32_t count, int8_t *arena);
/* n stages, each reading what the one before writes: the same bits as layer after layer. Between two of them only a ring of
 * the rows under a turn's windows exists. The last stage may write over input rows that no stage will read again: the compiler's
 * plan/chains.py says how far apart the two must begin. made: n counters of rows. */
void mg_row_chain_s8(const mg_row_stage_t *stages, int32_t n, int8_t *arena, int32_t *made);
/* As far as the first `available` rows of the input allow; made is 0 at first and goes on from call to call. */
void mg_row_chain_advance_s8(const mg_row_stage_t *stages, int32_t n, int8_t *arena, int32_t *made, int32_t available);
/* A tensor from CHW to HCW in place. scratch: two rows and a bit a row, 2 * width + (channels * height + 7) / 8 bytes. */
void mg_planes_to_rows_s8(int8_t *x, int32_t channels, int32_t height, int32_t width, int8_t *scratch);

typedef struct {
    float scale; /* x_scale / y_scale */
    float alpha; /* slope below zero: 1 requantize, 0 < alpha != 1 LeakyRelu */
    int32_t x_zero, y_zero, y_min, y_max;
} mg_requantize_t;
/* v = (float)(x - x_zero) * scale; if (x < x_zero) v = v * alpha; y = clamp(round(v) + y_zero), over a box of x and y.
 * Requantize, Relu, Clip, LeakyRelu, a Concat operand, the inside of Pad. y may be x when the strides agree. */
void mg_requantize_s8(const mg_requantize_t *g, const mg_box_t *box, const int8_t *x, int8_t *y);
/* Bit i of bits (bit i % 8 of byte i / 8) says whether min < y[i] < max; (n + 7) / 8 bytes. What the backward needs of an
 * activation that no weight gradient reads: its straight-through mask, in an eighth of the memory. */
void mg_mask_bits(const int8_t *restrict y, int32_t n, int32_t min, int32_t max, uint8_t *restrict bits);
/* y[i] = x[i], n elements: what the backward needs of an activation that dies. */
void mg_copy_s8(const int8_t *restrict x, int32_t n, int8_t *restrict y);
/* n bytes of v (the border of Pad). */
void mg_fill_s8(int8_t *y, int32_t n, int8_t v);

/* Maximum over the window, padding ignored; y is in x's scale; then clamped to [y_min, y_max]. */
void mg_max_pool2d_s8(const mg_pool2d_t *g, const int8_t *restrict x, int8_t *restrict y);
/* y = clamp(round((float)(sum (x - x_zero)) * (scale / n)) + y_zero), scale = x_scale / y_scale, n positions as float
 * (scale / n is one float32 division). */
void mg_avg_pool2d_s8(const mg_pool2d_t *g, float scale, const int8_t *restrict x, int8_t *restrict y);
/* The same where the only window is the whole plane, without padding; at most 2^24 positions. */
void mg_global_avg_pool2d_s8(const mg_pool2d_t *g, float scale, const int8_t *restrict x, int8_t *restrict y);

void mg_permute_s8(const mg_permute_t *g, const int8_t *restrict x, int8_t *restrict y);

/* ---- head and loss, float32 --------------------------------------------------------------------------------- */

/* y[i] = (float)(x[i] - zero) * scale */
void mg_dequantize_s8(const int8_t *restrict x, int32_t n, float scale, int32_t zero, float *restrict y);
/* y[o] = (sum_i w[o,i] * x[i]) + b[o]; b may be NULL. */
void mg_dense_f32(const float *restrict w, const float *restrict b, const float *restrict x, int32_t n_in, int32_t n_out,
                  float *restrict y);
/* y[o] = (float)(bias[o] + sum_i (x[i] - x_zero) * w[o,i]) * scale[o], scale[o] = x_scale * w_scale[o]: an int8 classifier
 * with real outputs. acc + bias wraps; n_in <= 65,535. */
void mg_dense_s8(const int8_t *restrict x, const int8_t *restrict w, const int32_t *restrict bias,
                 const float *restrict scale, int32_t n_in, int32_t n_out, int32_t x_zero, float *restrict y);
/* Deterministic exp (x <= 0, relative error < 2^-22, 0 from -87 down) and natural logarithm (x > 0, normal): float32
 * multiplications, additions, one division (log) and exponent bits only, the same on every host. */
float mg_exp_f32(float x);
float mg_log_f32(float x);
/* Over the last axis of an outer x n tensor; y may be x. */
void mg_softmax_f32(const float *x, int32_t outer, int32_t n, float *y);
void mg_log_softmax_f32(const float *x, int32_t outer, int32_t n, float *y);
/* *loss = log(sum_i exp(x[i] - max)) - (x[label] - max); d[i] = exp(x[i] - max) / sum - [i == label]. 0 <= label < n. */
void mg_softmax_cross_entropy_f32(const float *restrict x, int32_t n, int32_t label, float *restrict loss,
                                  float *restrict d);
/* *loss = (sum_i (x[i] - t[i])^2) * (1/n); d[i] = (x[i] - t[i]) * (2/n); d may be x. */
void mg_mse_f32(const float *x, const float *restrict target, int32_t n, float *restrict loss, float *d);
/* max_i |x[i]|, at least 1e-30: G, the unit that predicts every error scale of the step. */
float mg_absmax_f32(const float *x, int32_t n);
/* dx[i] = sum_o w[o,i] * dy[o] */
void mg_dense_dgrad_f32(const float *restrict w, const float *restrict dy, int32_t n_in, int32_t n_out,
                        float *restrict dx);
/* w[o,i] = w[o,i] - (dy[o] * x[i]) * lr;  b[o] = b[o] - dy[o] * lr. w or b may be NULL (frozen). */
void mg_dense_update_f32(const float *restrict x, const float *restrict dy, int32_t n_in, int32_t n_out, float lr,
                         float *restrict w, float *restrict b);
/* The same step adds up in `pending` (as w): t = pending + (dy[o] * x[i]) * lr; apply: w = w - t, pending = 0; else
 * pending = t. lr holds the 1 / k of a mean. A bias is the weight of an input that is 1. */
void mg_dense_update_accumulate_f32(const float *restrict x, const float *restrict dy, int32_t n_in, int32_t n_out,
                                    float lr, bool apply, float *restrict pending, float *restrict w);

/* ---- error tensors ------------------------------------------------------------------------------------------ */

/* Where and how an error tensor is stored: every backward kernel computes one float per element and hands it over here.
 *   v = acc * base_scale;  if (skip) v += (float)skip[i] * skip_scale;  if (mult) v *= mult[c];
 *   if (mask) v = 0 where the forward output saturated, i.e. unless mask_min < mask[i] < mask_max;
 *   if (mask_bits) v = 0 where its bit i is clear (mg_mask_bits);
 *   absmax = max(absmax, |v|);  out[i] = v (f32)  or  round(clamp(v * inv_scale, -qmax, qmax)), clipped ones counted.
 * While inv_scale is 0 integers are measured only: absmax is kept, out is not written. out may be skip, of one type. */
typedef struct {
    void *out;
    const void *skip;
    const float *mult;
    const int8_t *mask;
    const uint8_t *mask_bits;
    float base_scale, skip_scale, scale, inv_scale, absmax;
    uint32_t clipped;
    mg_dtype_t out_type, skip_type;
    int32_t mask_min, mask_max;
} mg_store_t;
void mg_store(mg_store_t *s, int32_t c, int32_t i, float acc);

/* The delayed scale of one error tensor (NUMERICS.md). Use:
 *   do { mg_scale_predict(&s, ratio, g); kernel(..., &s); } while (mg_scale_observe(&s, &ratio, g));
 * The loop body runs twice only while `ratio` is 0: the first pass measures and writes nothing, so that it can run again
 * where out is skip or e. If all of it was zero, ratio and scale stay 0 and the loop ends: a scale of 0 says that every
 * element is zero, whatever bytes are stored. predict also resets absmax and clipped. f32 tensors need neither. */
void mg_scale_predict(mg_store_t *s, float ratio, float g);
bool mg_scale_observe(mg_store_t *s, float *ratio, float g);
/* The smallest power of two >= max(v, 2^-100). */
float mg_pow2ceil_f32(float v);

/* ---- backward ----------------------------------------------------------------------------------------------- */

/* Suffix: the type of the incoming error `e`, in units of the int32 accumulator. acc = sum_{oc,ky,kx} e * w for input
 * element (ic,iy,ix), in that loop order, in int32 (s8), int64 (s16) or float32 (f32); then mg_store((float)acc). */
void mg_conv2d_dgrad_s8(const mg_conv2d_t *g, const int8_t *restrict e, const int8_t *restrict w, mg_store_t *s);
/* The same where in_h, in_w, out_h, out_w, k_h and k_w are 1. */
void mg_fully_connected_dgrad_s8(const mg_conv2d_t *g, const int8_t *restrict e, const int8_t *restrict w, mg_store_t *s);
/* The same where groups == in_c == out_c. scratch is aligned to 4 bytes; depthwise_dgrad_scratch says how much. s->out may lie
 * on e as y of the forward on x. */
void mg_depthwise_conv2d_dgrad_s8(const mg_conv2d_t *g, const int8_t *e, const int8_t *restrict w,
                                  int16_t *restrict scratch, mg_store_t *s);
void mg_conv2d_dgrad_s16(const mg_conv2d_t *g, const int16_t *restrict e, const int8_t *restrict w, mg_store_t *s);
void mg_conv2d_dgrad_f32(const mg_conv2d_t *g, const float *restrict e, const int8_t *restrict w, mg_store_t *s);
/* mg_conv2d_dgrad_s8 where each output reads one position, the same: 1 x 1, stride 1, groups == 1, four positions or more.
 * scratch, aligned to 4 bytes: (4 * panels + 2) * Kp int16, Kp = out_c rounded up to even; of the error that many times
 * four positions, at most 16 of them, are expanded at once. More panels cost fewer instructions. */
void mg_conv2d_pointwise_dgrad_s8(const mg_conv2d_t *g, const int8_t *restrict e, const mg_split_weights_t *w,
                                  int32_t panels, int16_t *restrict scratch, mg_store_t *s);
/* The same for weights with a zero point: acc = sum_{oc,ky,kx} e * (w - w_zero[oc]). In int32 (s8) it holds while
 * k_h * k_w * out_c / groups <= 65,793 (128 * 255 per term, checked). Their update is mg_conv2d_update_weight: a zero point
 * does not move, so the gradient by the stored integer is the same. */
void mg_conv2d_asymmetric_dgrad_s8(const mg_conv2d_t *g, const int8_t *restrict e, const int8_t *restrict w,
                                   const int8_t *restrict w_zero, mg_store_t *s);
void mg_conv2d_asymmetric_dgrad_s16(const mg_conv2d_t *g, const int16_t *restrict e, const int8_t *restrict w,
                                    const int8_t *restrict w_zero, mg_store_t *s);
void mg_conv2d_asymmetric_dgrad_f32(const mg_conv2d_t *g, const float *restrict e, const int8_t *restrict w,
                                    const int8_t *restrict w_zero, mg_store_t *s);

/* Stochastic rounding: u in [0, 1) for element i of tensor `tensor` at `step`. */
typedef struct {
    uint32_t seed, step, tensor;
} mg_random_t;
uint32_t mg_random_key(const mg_random_t *r);
float mg_random_uniform(uint32_t key, uint32_t i);

/* Which weights train: some input channels, counted within a group, for some output channels. NULL: the first n of them;
 * otherwise n runs of consecutive channels, [runs[2k], runs[2k + 1]) each. held: how many input channels of each output
 * channel lie in the w that is updated, the first ones, those that train among them. */
typedef struct {
    const uint16_t *inputs, *outputs;
    int32_t n_inputs, n_outputs, held;
} mg_subset_t;

/* acc = sum_{oy,ox} e[oc,oy,ox] * (x[ic,iy,ix] - x_zero) for each trained weight (padding adds nothing), then
 *   w = clamp(w + floor(clamp(u - (float)acc * (rate * qas[oc]), +-1e9)), -127, 127),
 * rate = lr * S, qas[oc] = w_scale^-2 (0 freezes a channel: it is not visited), u the uniform of the weight's OIHW index.
 * Returns how many of the visited weights ended at +-127. int32 holds while out_h * out_w <= 66,311 (checked). */
uint32_t mg_conv2d_update_weight_s8(const mg_conv2d_t *g, const int8_t *restrict e, const int8_t *restrict x,
                                    const mg_subset_t *subset, const float *restrict qas, float rate,
                                    const mg_random_t *random, int8_t *restrict w);
uint32_t mg_conv2d_update_weight_s16(const mg_conv2d_t *g, const int16_t *restrict e, const int8_t *restrict x,
                                     const mg_subset_t *subset, const float *restrict qas, float rate,
                                     const mg_random_t *random, int8_t *restrict w);
uint32_t mg_conv2d_update_weight_f32(const mg_conv2d_t *g, const float *restrict e, const int8_t *restrict x,
                                     const mg_subset_t *subset, const float *restrict qas, float rate,
                                     const mg_random_t *random, int8_t *restrict w);
/* acc = sum over the `plane` positions of e[c]; b[c] = saturate_int32(b[c] + floor(clamp(u - (float)acc * (rate * qas[c]),
 * +-1e9))), qas[c] = (x_scale * w_scale[c])^-2, 0 freezes. */
void mg_update_bias_s8(const int8_t *restrict e, int32_t channels, int32_t plane, const float *restrict qas, float rate,
                       const mg_random_t *random, int32_t *restrict b);
void mg_update_bias_s16(const int16_t *restrict e, int32_t channels, int32_t plane, const float *restrict qas, float rate,
                        const mg_random_t *random, int32_t *restrict b);
void mg_update_bias_f32(const float *restrict e, int32_t channels, int32_t plane, const float *restrict qas, float rate,
                        const mg_random_t *random, int32_t *restrict b);

/* What rounding leaves over is kept, one int8 or int16 for each trained weight (subset outputs x subset inputs x k_h x k_w,
 * in this order) and one int8 or int32 for each bias, in units of 1/256 quantum; rate = 256 * lr * S:
 *   total = kept + floor(clamp(u - (float)acc * (rate * qas), +-1e9));  move = floor((total + 128) / 256)
 *   kept  = total - 256 * move;  w = clamp(w + move, -127, 127);  b = saturate_int32(b + move)
 * residual: u = 1/2, and kept lies in [-128, 127]. */
uint32_t mg_conv2d_update_weight_residual_s8(const mg_conv2d_t *g, const int8_t *restrict e, const int8_t *restrict x,
                                             const mg_subset_t *subset, const float *restrict qas, float rate,
                                             int8_t *restrict residual, int8_t *restrict w);
uint32_t mg_conv2d_update_weight_residual_s16(const mg_conv2d_t *g, const int16_t *restrict e, const int8_t *restrict x,
                                              const mg_subset_t *subset, const float *restrict qas, float rate,
                                              int8_t *restrict residual, int8_t *restrict w);
uint32_t mg_conv2d_update_weight_residual_f32(const mg_conv2d_t *g, const float *restrict e, const int8_t *restrict x,
                                              const mg_subset_t *subset, const float *restrict qas, float rate,
                                              int8_t *restrict residual, int8_t *restrict w);
void mg_update_bias_residual_s8(const int8_t *restrict e, int32_t channels, int32_t plane, const float *restrict qas,
                                float rate, int8_t *restrict residual, int32_t *restrict b);
void mg_update_bias_residual_s16(const int16_t *restrict e, int32_t channels, int32_t plane, const float *restrict qas,
                                 float rate, int8_t *restrict residual, int32_t *restrict b);
void mg_update_bias_residual_f32(const float *restrict e, int32_t channels, int32_t plane, const float *restrict qas,
                                 float rate, int8_t *restrict residual, int32_t *restrict b);
/* accumulate: u uniform, rate = 256 / k * lr * S; as above where `apply`, else pending = clamp(total, +-32,767) of a weight,
 * clamp(total, +-1e9) of a bias, and move = 0. */
uint32_t mg_conv2d_update_weight_accumulate_s8(const mg_conv2d_t *g, const int8_t *restrict e, const int8_t *restrict x,
                                               const mg_subset_t *subset, const float *restrict qas, float rate,
                                               const mg_random_t *random, bool apply, int16_t *restrict pending,
                                               int8_t *restrict w);
uint32_t mg_conv2d_update_weight_accumulate_s16(const mg_conv2d_t *g, const int16_t *restrict e,
                                                const int8_t *restrict x, const mg_subset_t *subset,
                                                const float *restrict qas, float rate, const mg_random_t *random,
                                                bool apply, int16_t *restrict pending, int8_t *restrict w);
uint32_t mg_conv2d_update_weight_accumulate_f32(const mg_conv2d_t *g, const float *restrict e, const int8_t *restrict x,
                                                const mg_subset_t *subset, const float *restrict qas, float rate,
                                                const mg_random_t *random, bool apply, int16_t *restrict pending,
                                                int8_t *restrict w);
void mg_update_bias_accumulate_s8(const int8_t *restrict e, int32_t channels, int32_t plane, const float *restrict qas,
                                  float rate, const mg_random_t *random, bool apply, int32_t *restrict pending,
                                  int32_t *restrict b);
void mg_update_bias_accumulate_s16(const int16_t *restrict e, int32_t channels, int32_t plane,
                                   const float *restrict qas, float rate, const mg_random_t *random, bool apply,
                                   int32_t *restrict pending, int32_t *restrict b);
void mg_update_bias_accumulate_f32(const float *restrict e, int32_t channels, int32_t plane, const float *restrict qas,
                                   float rate, const mg_random_t *random, bool apply, int32_t *restrict pending,
                                   int32_t *restrict b);
/* mg_conv2d_update_weight_s8 where in_h, in_w, out_h, out_w, k_h and k_w are 1. */
uint32_t mg_fully_connected_update_weight_s8(const mg_conv2d_t *g, const int8_t *restrict e, const int8_t *restrict x,
                                             const mg_subset_t *subset, const float *restrict qas, float rate,
                                             const mg_random_t *random, int8_t *restrict w);
/* mg_conv2d_update_weight_..._s8 where each output reads one position, the same: 1 x 1, stride 1, groups == 1.
 * scratch, aligned to 4 bytes: (4 * panels + 2) * P int16, P = positions rounded up to a multiple of four; that many times
 * four input channels, at most 16 of them, are expanded at once. */
uint32_t mg_conv2d_pointwise_update_weight_s8(const mg_conv2d_t *g, const int8_t *restrict e, const int8_t *restrict x,
                                              const mg_subset_t *subset, const float *restrict qas, float rate,
                                              const mg_random_t *random, int32_t panels, int16_t *restrict scratch,
                                              int8_t *restrict w);
uint32_t mg_conv2d_pointwise_update_weight_residual_s8(const mg_conv2d_t *g, const int8_t *restrict e,
                                                       const int8_t *restrict x, const mg_subset_t *subset,
                                                       const float *restrict qas, float rate, int8_t *restrict residual,
                                                       int32_t panels, int16_t *restrict scratch, int8_t *restrict w);
uint32_t mg_conv2d_pointwise_update_weight_accumulate_s8(const mg_conv2d_t *g, const int8_t *restrict e,
                                                         const int8_t *restrict x, const mg_subset_t *subset,
                                                         const float *restrict qas, float rate,
                                                         const mg_random_t *random, bool apply,
                                                         int16_t *restrict pending, int32_t panels,
                                                         int16_t *restrict scratch, int8_t *restrict w);

/* mg_conv2d_pointwise_dgrad_s8, `strip` times four positions at once, and then mg_conv2d_pointwise_update_weight_s8 of all input
 * channels, in groups of 4 * panels of them. s->out may be x, which the error of a group overwrites when its weights have moved; s->skip is int8 if any, s->mask_bits
 * NULL, in_c even. Predicts and observes the scale of s by itself, with `ratio` and `unit`: see mg_scale_predict.
 * scratch, aligned to 4 bytes: 2 * panels * in_h * in_w int16 and as much as either of the two needs. */
uint32_t mg_conv2d_pointwise_backward_s8(const mg_conv2d_t *g, const int8_t *restrict e, const int8_t *x,
                                         const mg_subset_t *subset, const float *restrict qas, float rate,
                                         const mg_random_t *random, int8_t *restrict w, int32_t panels, int32_t strip,
                                         int16_t *restrict scratch, float *ratio, float unit, mg_store_t *s);

/* The light ones read any error type (`e_type`) as float, exactly. */
/* acc = e: masks, per-channel scales, sums of two errors, a change of type. channels x plane elements; out may be
 * e unless its type is wider. */
void mg_error_map(const void *e, mg_dtype_t e_type, int32_t channels, int32_t plane, mg_store_t *s);
/* acc = e * (x < x_zero ? alpha : 1): the gradient of LeakyRelu. */
void mg_leaky_relu_dgrad(const void *e, mg_dtype_t e_type, const int8_t *x, int32_t x_zero, float alpha, int32_t channels,
                         int32_t plane, mg_store_t *s);
/* acc = sum over the windows that hold the element, oy then ox ascending, of e * (1/n), as float32. */
void mg_avg_pool2d_dgrad(const mg_pool2d_t *g, const void *e, mg_dtype_t e_type, mg_store_t *s);
/* The same where the only window is the whole plane, without padding. */
void mg_global_avg_pool2d_dgrad(const mg_pool2d_t *g, const void *e, mg_dtype_t e_type, mg_store_t *s);
/* acc = sum over the windows whose first maximum (ky then kx ascending) is the element, oy then ox ascending, of e, as
 * float32. */
void mg_max_pool2d_dgrad(const mg_pool2d_t *g, const void *e, mg_dtype_t e_type, const int8_t *x, mg_store_t *s);
/* The box of e (src strides) that a Concat operand or the inside of Pad occupies; the result (dst strides) is dense and
 * has `plane` elements a channel. */
void mg_slice_dgrad(const mg_box_t *box, const void *e, mg_dtype_t e_type, int32_t plane, mg_store_t *s);
/* out[i] = e[permuted], see mg_permute_t; plane as above. */
void mg_permute_dgrad(const mg_permute_t *g, const void *e, mg_dtype_t e_type, int32_t plane, mg_store_t *s);

/* ---- schedule ----------------------------------------------------------------------------------------------- */

typedef enum { MG_CONSTANT = 0, MG_LINEAR = 1, MG_COSINE = 2 } mg_schedule_t;
/* The rate of `step` in [0, total): base, base * (1 - step/total), base * (1 + cos(pi * step/total)) / 2, the last as
 * base * sin^2(pi/2 * (1 - step/total)) by a polynomial, the same everywhere. Steps past the end keep the last planned
 * rate; total 0 means constant. */
float mg_learning_rate(mg_schedule_t kind, float base, uint32_t step, uint32_t total);

/* ---- divergence ----------------------------------------------------------------------------------------------- */

/* What a training knows about its loss (NUMERICS.md): means of blocks of 128 losses. All zero when it begins. */
typedef struct {
    uint32_t seen;      /* losses */
    uint32_t diverged;  /* 0, or what `seen` was then */
    float mean;         /* of the block that is not full */
    float chance;       /* running mean of the loss of outputs that know nothing */
    float start;        /* `any_target` of the first step; comes down to 1.25 of each block */
    float last, before; /* the last full block, the one before it */
    float saved;        /* below 0.75 of it a checkpoint is due */
} mg_loss_watch_t;
/* Takes in the loss of a step, which may not be finite. `chance`: that of outputs that know nothing, log(classes) or the mean
 * square of the targets. `any_target`: that of this step's outputs if the target had nothing to do with them. False: the
 * training has diverged. */
bool mg_loss_watch(mg_loss_watch_t *w, float loss, float chance, float any_target);
/* `loss` = log(sum_i exp(x[i])) - x[label], averaged over all n labels: loss + x[label] - (sum_i x[i]) * (1/n). */
float mg_any_label_loss_f32(const float *x, int32_t n, int32_t label, float loss);
/* Whether the block that has just ended is markedly below the one of which this was true last. */
bool mg_loss_improved(mg_loss_watch_t *w);
/* (sum_i x[i]^2) * (1/n) */
float mg_mean_square_f32(const float *x, int32_t n);

#ifdef __cplusplus
#undef restrict
}
#endif
#endif
