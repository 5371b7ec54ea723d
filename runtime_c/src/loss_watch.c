/* Whether a training still learns, from means of its loss. */
#include "mg_internal.h"

enum { BLOCK = 128, WINDOW = 256 };

static float smaller(float a, float b) { return b < a ? b : a; }

static void end_block(mg_loss_watch_t *w) {
    const bool first = w->seen == BLOCK;
    const float least = smaller(smaller(w->before, w->last), w->mean), high = w->last < w->before ? w->before : w->last;
    const float level = w->start > w->chance ? w->start : w->chance;
    const bool stays = w->mean > 0.85f * high || least > 8.0f * level;
    if (w->seen >= 3 * BLOCK && least > 1.25f * level && stays) {
        w->diverged = w->seen;
    }
    w->start = smaller(w->start, 1.25f * w->mean);
    w->before = w->last;
    w->last = w->mean;
    w->saved = first ? w->chance : smaller(w->saved * 1.0625f, w->chance);
}

MG_COLD
bool mg_loss_watch(mg_loss_watch_t *w, float loss, float chance, float any_target) {
    const uint32_t within = w->seen % BLOCK;
    if (w->seen == 0) {
        w->start = any_target < 1e30f ? any_target : 0.0f; /* also what is not a number */
    }
    w->seen++;
    w->chance = w->chance + (chance - w->chance) / (float)(w->seen < WINDOW ? w->seen : WINDOW);
    const float value = loss < 1e30f ? loss : 1e30f; /* and what is not a number */
    w->mean = within == 0 ? value : w->mean + (value - w->mean) / (float)(within + 1);
    if (within == BLOCK - 1) {
        end_block(w);
    }
    return w->diverged == 0;
}

bool mg_loss_improved(mg_loss_watch_t *w) {
    if (w->seen == 0 || w->seen % BLOCK != 0 || w->diverged != 0 || !(w->last < 0.75f * w->saved)) {
        return false;
    }
    w->saved = w->last;
    return true;
}

float mg_any_label_loss_f32(const float *x, int32_t n, int32_t label, float loss) {
    float sum = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        sum = sum + x[i];
    }
    return loss + (x[label] - sum * (1.0f / (float)n));
}

float mg_mean_square_f32(const float *x, int32_t n) {
    float sum = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        sum = sum + x[i] * x[i];
    }
    return sum * (1.0f / (float)n);
}
