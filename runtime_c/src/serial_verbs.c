/* What a request does. A request that is refused changes nothing but the sample that was coming in. */
#include "mg_serial_internal.h"

static uint8_t *at(const mg_serial_t *s, uint32_t offset) { return (uint8_t *)s->m + offset; }

static const mg_serial_plan_t *plan_of(const mg_serial_t *s) { return (const mg_serial_plan_t *)(void *)at(s, s->model->plan); }

static const uint32_t *counters(const mg_serial_t *s) { return (const uint32_t *)(void *)at(s, s->model->counters); }

static bool trains(const mg_serial_t *s) { return s->model->train != NULL; }

static uint32_t step_of(const mg_serial_t *s) { return trains(s) ? plan_of(s)->step : 0; }

static float get_float(const uint8_t *bytes) {
    const uint32_t bits = mg_get32(bytes);
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

void mg_serial_info(mg_serial_t *s) {
    const mg_serial_model_t *const model = s->model;
    const uint32_t window = s->port->window < MG_SERIAL_WINDOW ? s->port->window : MG_SERIAL_WINDOW;
    const uint32_t facts[] = {MG_SERIAL_VERSION, window ? window : 1, MG_SERIAL_PAYLOAD, s->session, model->input_len,
                              model->row_len, model->output_len, model->target_len, trains(s), model->id->bytes,
                              model->n_scales, step_of(s), s->keep != NULL, s->found, s->writing};
    for (uint32_t i = 0; i < sizeof facts / sizeof *facts; i++) mg_serial_add(s, facts[i]);
    mg_serial_add_bytes(s, model->id->hash, sizeof model->id->hash);
    mg_serial_add_bytes(s, model->id->name, sizeof model->id->name);
}

/* ---- samples ------------------------------------------------------------------------------------------------ */

static uint32_t wanted_bytes(const mg_serial_model_t *model) { return 4 * (model->target_len ? model->target_len : 1); }

/* Pixels go where the model reads them, a row at a time where it takes rows; what is behind them is wanted of it. */
static uint32_t put_piece(mg_serial_t *s, const uint8_t *bytes, uint32_t count) {
    const mg_serial_model_t *const model = s->model;
    if (s->filled >= model->input_len) {
        memcpy((uint8_t *)s->wanted + (s->filled - model->input_len), bytes, count);
        return count;
    }
    const uint32_t unit = model->row_len ? model->row_len : model->input_len, within = s->filled % unit;
    if (count > unit - within) count = unit - within;
    memcpy(model->place(s->m) + within, bytes, count);
    if (model->push != NULL && within + count == unit) model->push(s->m);
    return count;
}

static bool put_sample(mg_serial_t *s, uint32_t offset, const uint8_t *bytes, uint32_t count) {
    const uint32_t total = s->model->input_len + wanted_bytes(s->model);
    if (offset == 0 ? !s->dropped : offset == MG_SERIAL_RESTART) {
        offset = s->filled = 0;
        s->dropped = false;
        if (s->model->begin != NULL) s->model->begin(s->m);
    }
    if (s->dropped || offset != s->filled || count > total - s->filled) return false;
    while (count) {
        const uint32_t piece = put_piece(s, bytes, count);
        s->filled += piece;
        bytes += piece;
        count -= piece;
    }
    return true;
}

/* Takes in the last bytes of a sample, `full` bytes of it in all unless 0. */
static mg_status_t take_sample(mg_serial_t *s, const uint8_t *payload, uint32_t bytes, uint32_t full) {
    if (bytes < 4) return MG_STATUS_FORMAT;
    if (s->writing) return MG_STATUS_WRITING;
    if (put_sample(s, mg_get32(payload), payload + 4, bytes - 4) && (full == 0 || s->filled == full)) {
        if (full) s->filled = 0;
        return MG_STATUS_OK;
    }
    s->filled = 0;
    s->dropped = true;
    return MG_STATUS_SAMPLE;
}

static int32_t label(const mg_serial_t *s) {
    int32_t value;
    memcpy(&value, s->wanted, 4);
    return value;
}

static mg_status_t take_record(mg_serial_t *s, const uint8_t *payload, uint32_t bytes) {
    const mg_serial_model_t *const model = s->model;
    const mg_status_t status = take_sample(s, payload, bytes, model->input_len + wanted_bytes(model));
    if (status != MG_STATUS_OK || model->target_len) return status;
    return label(s) < 0 || label(s) >= (int32_t)model->output_len ? MG_STATUS_LABEL : MG_STATUS_OK;
}

/* The largest output, the first of equals. */
static uint32_t best(const mg_serial_t *s) {
    uint32_t found = 0;
    for (uint32_t i = 1; i < s->model->output_len; i++)
        if (s->outputs[i] > s->outputs[found]) found = i;
    return found;
}

static mg_status_t predict(mg_serial_t *s, const uint8_t *payload, uint32_t bytes) {
    const mg_status_t status = take_sample(s, payload, bytes, s->model->input_len);
    if (status != MG_STATUS_OK) return status;
    s->model->predict(s->m, s->outputs);
    mg_serial_add(s, best(s));
    mg_serial_add_float(s, s->outputs[best(s)]);
    return MG_STATUS_OK;
}

static mg_status_t train(mg_serial_t *s, const uint8_t *payload, uint32_t bytes) {
    if (!trains(s)) return MG_STATUS_FROZEN;
    const mg_status_t status = take_record(s, payload, bytes);
    if (status != MG_STATUS_OK) return status;
    const bool updated = s->model->train(s->m, s->wanted, &s->last_loss);
    uint32_t flags = updated ? MG_TRAIN_UPDATED : 0;
    if (plan_of(s)->watch.diverged) flags |= MG_TRAIN_DIVERGED;
    if (s->model->checkpoint_due(s->m)) flags |= MG_TRAIN_CHECKPOINT_DUE;
    mg_serial_add(s, flags);
    mg_serial_add_float(s, s->last_loss);
    mg_serial_add(s, step_of(s));
    return MG_STATUS_OK;
}

static void score(mg_serial_t *s, bool reset) {
    mg_serial_add(s, s->scored);
    mg_serial_add(s, s->correct);
    mg_serial_add_float(s, s->score_loss);
    if (!reset) return;
    s->scored = s->correct = 0;
    s->score_loss = 0.0f;
}

static float mean_square(const mg_serial_t *s) {
    const float *const target = s->wanted;
    float sum = 0.0f;
    for (uint32_t i = 0; i < s->model->target_len; i++) {
        const float d = s->outputs[i] - target[i];
        sum = sum + d * d;
    }
    return sum / (float)s->model->output_len;
}

static mg_status_t evaluate(mg_serial_t *s, const uint8_t *payload, uint32_t bytes) {
    const mg_status_t status = take_record(s, payload, bytes);
    if (status != MG_STATUS_OK) return status;
    s->model->predict(s->m, s->outputs);
    s->scored++;
    if (s->model->target_len) s->score_loss = s->score_loss + mean_square(s);
    else if ((int32_t)best(s) == label(s)) s->correct++;
    mg_serial_add(s, best(s));
    score(s, false);
    return MG_STATUS_OK;
}

/* ---- what was learned --------------------------------------------------------------------------------------- */

static mg_load_t load(mg_serial_t *s) { return s->keep != NULL ? s->keep->load(s->m, s->log) : MG_LOAD_NO_FLASH; }

/* What was saved, or else what the factory gave. */
static void restore(mg_serial_t *s) {
    s->model->init(s->m);
    s->found = (uint32_t)load(s);
    s->writing = false;
}

void mg_serial_abandon(mg_serial_t *s) {
    if (s->writing) restore(s);
    if (s->filled) s->dropped = true;
    s->filled = 0;
}

static mg_status_t save(mg_serial_t *s) {
    mg_serial_add(s, (uint32_t)(s->keep != NULL ? s->keep->save(s->m, s->log) : MG_SAVE_NO_FLASH));
    mg_serial_add(s, step_of(s));
    return MG_STATUS_OK;
}

static mg_status_t load_saved(mg_serial_t *s) {
    const mg_load_t found = load(s);
    if (found == MG_LOADED || found == MG_LOAD_BROKEN) s->writing = false;
    if (s->writing) restore(s);
    mg_serial_add(s, (uint32_t)found);
    mg_serial_add(s, step_of(s));
    return MG_STATUS_OK;
}

static mg_status_t reset(mg_serial_t *s) {
    const bool cleared = s->keep != NULL && s->keep->clear(s->log);
    s->model->init(s->m);
    s->writing = false;
    s->found = s->keep != NULL ? MG_LOAD_EMPTY : MG_LOAD_NO_FLASH;
    mg_serial_add(s, cleared);
    return MG_STATUS_OK;
}

static mg_status_t begin(mg_serial_t *s, const uint8_t *payload, uint32_t bytes) {
    const uint8_t *const hash = s->model->id->hash;
    if (bytes != sizeof s->model->id->hash) return MG_STATUS_FORMAT;
    for (uint32_t i = 0; i < bytes; i++)
        if (payload[i] != hash[i]) return MG_STATUS_MODEL;
    s->writing = true;
    s->written = 0;
    return MG_STATUS_OK;
}

static mg_status_t write(mg_serial_t *s, const uint8_t *payload, uint32_t bytes) {
    if (bytes < 4 || !s->writing || mg_get32(payload) != s->written || bytes - 4 > s->model->id->bytes - s->written)
        return MG_STATUS_FORMAT;
    memcpy(at(s, s->written), payload + 4, bytes - 4);
    s->written += bytes - 4;
    return MG_STATUS_OK;
}

static uint32_t state_crc(const mg_serial_t *s) { return ~mg_crc32(0xFFFFFFFFu, s->m, s->model->id->bytes); }

/* Kernels multiply by it: what is no number would spread. */
static bool is_rate(float value) { return value >= 0.0f && value - value == 0.0f; }

static mg_status_t commit(mg_serial_t *s, const uint8_t *payload, uint32_t bytes) {
    if (bytes != 4 || !s->writing) return MG_STATUS_FORMAT;
    const bool sound = s->written == s->model->id->bytes && mg_get32(payload) == state_crc(s) &&
                       is_rate(plan_of(s)->learning_rate);
    if (sound) s->writing = false;
    else restore(s);
    mg_serial_add(s, s->found);
    mg_serial_add(s, step_of(s));
    return sound ? MG_STATUS_OK : MG_STATUS_DAMAGED;
}

static mg_status_t replan(mg_serial_t *s, const uint8_t *payload, uint32_t bytes) {
    if (bytes != 16 || mg_get32(payload) > MG_COSINE || !is_rate(get_float(payload + 4))) return MG_STATUS_FORMAT;
    s->model->replan(s->m, (mg_schedule_t)mg_get32(payload), get_float(payload + 4), mg_get32(payload + 8),
                     mg_get32(payload + 12));
    return MG_STATUS_OK;
}

static mg_status_t change_state(mg_serial_t *s, mg_verb_t verb, const uint8_t *payload, uint32_t bytes) {
    if (!trains(s)) return MG_STATUS_FROZEN;
    if (s->writing && (verb == MG_VERB_PLAN || verb == MG_VERB_SAVE)) return MG_STATUS_WRITING;
    switch (verb) {
    case MG_VERB_PLAN:
        return replan(s, payload, bytes);
    case MG_VERB_SAVE:
        return save(s);
    case MG_VERB_LOAD:
        return load_saved(s);
    case MG_VERB_RESET:
        return reset(s);
    case MG_VERB_BEGIN:
        return begin(s, payload, bytes);
    case MG_VERB_WRITE:
        return write(s, payload, bytes);
    default:
        return commit(s, payload, bytes);
    }
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static mg_status_t read(mg_serial_t *s, const uint8_t *payload, uint32_t bytes) {
    if (bytes != 12) return MG_STATUS_FORMAT;
    const uint32_t region = mg_get32(payload), offset = mg_get32(payload + 4), count = mg_get32(payload + 8);
    const uint8_t *from = s->m;
    uint32_t size = s->model->id->bytes;
    if (region == MG_REGION_OUTPUTS) {
        from = (const uint8_t *)s->outputs;
        size = 4 * s->model->output_len;
    } else if (region == MG_REGION_SCALES) {
        from = (const uint8_t *)(counters(s) + 2);
        size = 4 * s->model->n_scales;
    } else if (s->writing) {
        return MG_STATUS_WRITING;
    }
    if (region > MG_REGION_SCALES || count > MG_SERIAL_PAYLOAD || offset > size || count > size - offset)
        return MG_STATUS_FORMAT;
    mg_serial_add_bytes(s, from + offset, count);
    return MG_STATUS_OK;
}

static mg_status_t statistics(mg_serial_t *s) {
    if (trains(s)) {
        const mg_serial_plan_t *const plan = plan_of(s);
        mg_serial_add(s, plan->step);
        mg_serial_add(s, plan->total_steps);
        mg_serial_add(s, (uint32_t)plan->schedule);
        mg_serial_add(s, plan->seed);
        mg_serial_add_float(s, plan->learning_rate);
        mg_serial_add_float(s, mg_learning_rate((mg_schedule_t)plan->schedule, plan->learning_rate, plan->step,
                                                plan->total_steps));
        mg_serial_add_float(s, s->last_loss);
        mg_serial_add_float(s, plan->watch.mean);
        mg_serial_add(s, plan->watch.diverged);
        mg_serial_add_bytes(s, counters(s), 8);
    } else {
        for (uint32_t i = 0; i < 11; i++) mg_serial_add(s, 0);
    }
    mg_serial_add(s, s->port->stack != NULL ? s->port->stack(s->port->context) : 0);
    mg_serial_add(s, s->damaged_frames);
    mg_serial_add(s, s->long_frames);
    return MG_STATUS_OK;
}

static mg_status_t check(mg_serial_t *s) {
    if (s->writing) return MG_STATUS_WRITING;
    mg_serial_add(s, state_crc(s));
    mg_serial_add(s, step_of(s));
    return MG_STATUS_OK;
}

mg_status_t mg_serial_execute(mg_serial_t *s, mg_verb_t verb, const uint8_t *payload, uint32_t bytes) {
    switch (verb) {
    case MG_VERB_SAMPLE:
        return take_sample(s, payload, bytes, 0);
    case MG_VERB_PREDICT:
        return predict(s, payload, bytes);
    case MG_VERB_TRAIN:
        return train(s, payload, bytes);
    case MG_VERB_EVALUATE:
        return evaluate(s, payload, bytes);
    case MG_VERB_SCORE:
        if (bytes != 4) return MG_STATUS_FORMAT;
        score(s, mg_get32(payload) != 0);
        return MG_STATUS_OK;
    case MG_VERB_READ:
        return read(s, payload, bytes);
    case MG_VERB_STATISTICS:
        return statistics(s);
    case MG_VERB_CHECK:
        return check(s);
    default:
        return verb >= MG_VERB_PLAN && verb <= MG_VERB_COMMIT ? change_state(s, verb, payload, bytes) : MG_STATUS_VERB;
    }
}
