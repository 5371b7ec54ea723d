/* mcugrad runtime: gradients, the error tensors that carry them, and the updates that they make. A part of mcugrad.h, whose
 * layouts, types and promises hold here; include that one.
 */
#ifndef MCUGRAD_H
#error "include mcugrad.h, which includes mg_backward.h"
#endif
#ifndef MG_BACKWARD_H
#define MG_BACKWARD_H

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
/* max_i |x[i]|, at least 1e-30: G, the unit that predicts every error scale of the step. */
float mg_absmax_f32(const float *x, int32_t n);

/* ---- gradients and updates of int8 layers ------------------------------------------------------------------- */

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

/* mg_conv2d_pointwise_dgrad_s8, `strip` times four positions at once, and then mg_conv2d_pointwise_update_weight_s8 of all
 * input channels, in groups of 4 * panels of them. s->out may be x, which the error of a group overwrites when its weights
 * have moved; s->skip is int8 if any, s->mask_bits NULL, in_c even. Predicts and observes the scale of s by itself, with
 * `ratio` and `unit`: see mg_scale_predict.
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

/* ---- gradients and updates of the head, float32 ------------------------------------------------------------- */

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

#endif
