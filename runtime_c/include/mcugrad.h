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
 * of x that have been read. scratch is aligned to 4 bytes; the compiler's depthwise_scratch says how much: at most 4 KB for
 * kernels up to 13 x 13 without dilation, whatever the image. */
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
 * the rows under a turn's windows exists. The last stage may write over input rows that no stage will read again: the
 * compiler's plan/chains.py says how far apart the two must begin. made: n counters of rows. */
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

/* ---- gradients and updates ---------------------------------------------------------------------------------- */

#include "mg_backward.h"

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
