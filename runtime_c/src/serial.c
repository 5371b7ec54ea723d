/* Frames, sessions and order: which request is executed, which is only answered again. PROTOCOL.md says why. */
#include "mg_serial_internal.h"

enum { VERB = 0, STATUS = 1, SEQUENCE = 2, SESSION = 4 };

void mg_serial_add_bytes(mg_serial_t *s, const void *bytes, uint32_t count) {
    memcpy(s->answer + MG_SERIAL_HEADER + s->answer_bytes, bytes, count);
    s->answer_bytes = (uint8_t)(s->answer_bytes + count);
}

void mg_serial_add(mg_serial_t *s, uint32_t word) {
    mg_put32(s->answer + MG_SERIAL_HEADER + s->answer_bytes, word);
    s->answer_bytes = (uint8_t)(s->answer_bytes + 4);
}

void mg_serial_add_float(mg_serial_t *s, float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    mg_serial_add(s, bits);
}

/* ---- sending ------------------------------------------------------------------------------------------------ */

static void put(const mg_serial_t *s, uint32_t byte) { s->port->put(s->port->context, (uint8_t)byte); }

/* COBS, between two zeros; no run is as long as 254, so that no code is 255. */
static void put_frame(const mg_serial_t *s, const uint8_t *bytes, uint32_t count) {
    put(s, 0);
    for (uint32_t begin = 0, end; begin <= count; begin = end + 1) {
        for (end = begin; end < count && bytes[end] != 0;) end++;
        put(s, end - begin + 1);
        for (uint32_t i = begin; i < end; i++) put(s, bytes[i]);
    }
    put(s, 0);
}

/* With the payload that has been added. */
static void answer(mg_serial_t *s, mg_status_t status) {
    const uint32_t count = MG_SERIAL_HEADER + (uint32_t)s->answer_bytes;
    memcpy(s->answer, s->request, MG_SERIAL_HEADER); /* sequence and session are the request's */
    s->answer[VERB] = (uint8_t)(s->request[VERB] | MG_VERB_ANSWER);
    s->answer[STATUS] = (uint8_t)status;
    mg_put32(s->answer + count, ~mg_crc32(0xFFFFFFFFu, s->answer, count));
    put_frame(s, s->answer, count + MG_SERIAL_CRC);
}

/* ---- sessions and order ------------------------------------------------------------------------------------- */

/* A host that knows the session that it takes over; so an OPEN that comes late, from before, changes nothing. */
static mg_status_t open_session(mg_serial_t *s, uint32_t session, const uint8_t *payload, uint32_t bytes) {
    if (bytes != 4) return MG_STATUS_FORMAT;
    if (session == s->session && session != 0) return MG_STATUS_OK; /* repeated */
    if (session == 0 || mg_get32(payload) != s->session) return MG_STATUS_SESSION;
    mg_serial_abandon(s);
    memset(s->kept, 0, sizeof s->kept);
    s->session = session;
    s->sequence = 0;
    s->dropped = false;
    return MG_STATUS_OK;
}

static mg_serial_kept_t *kept(mg_serial_t *s, uint16_t sequence) { return &s->kept[sequence % MG_SERIAL_WINDOW]; }

static mg_status_t execute_next(mg_serial_t *s, uint16_t sequence, const uint8_t *payload, uint32_t bytes) {
    mg_serial_kept_t *const k = kept(s, sequence);
    const mg_status_t status = mg_serial_execute(s, (mg_verb_t)s->request[VERB], payload, bytes);
    s->sequence = k->sequence = sequence;
    k->verb = s->request[VERB];
    k->status = (uint8_t)status;
    k->bytes = k->verb >= MG_VERB_READ ? 0 : s->answer_bytes;
    memcpy(k->payload, s->answer + MG_SERIAL_HEADER, k->bytes);
    return status;
}

static mg_status_t answer_again(mg_serial_t *s, const mg_serial_kept_t *k, const uint8_t *payload, uint32_t bytes) {
    if (k->verb >= MG_VERB_READ) return mg_serial_execute(s, (mg_verb_t)k->verb, payload, bytes);
    mg_serial_add_bytes(s, k->payload, k->bytes);
    return (mg_status_t)k->status;
}

static mg_status_t obey(mg_serial_t *s, const uint8_t *payload, uint32_t bytes) {
    const uint32_t session = mg_get32(s->request + SESSION);
    const uint16_t sequence = (uint16_t)mg_get32(s->request + SEQUENCE);
    const uint8_t verb = s->request[VERB];
    if (verb == MG_VERB_INFO) {
        mg_serial_info(s);
        return MG_STATUS_OK;
    }
    if (verb == MG_VERB_OPEN) return open_session(s, session, payload, bytes);
    if (session != s->session || session == 0) return MG_STATUS_SESSION;
    if (sequence == (uint16_t)(s->sequence + 1)) return execute_next(s, sequence, payload, bytes);
    const mg_serial_kept_t *const k = kept(s, sequence);
    if (k->sequence == sequence && k->verb == verb) return answer_again(s, k, payload, bytes);
    mg_serial_add(s, s->sequence);
    return MG_STATUS_ORDER;
}

/* ---- receiving ---------------------------------------------------------------------------------------------- */

static void append(mg_serial_t *s, uint8_t byte) {
    if (s->length < MG_SERIAL_FRAME) s->request[s->length++] = byte;
    else s->too_long = true;
}

/* One byte of the line; true at the end of a frame that is whole. */
static bool take(mg_serial_t *s, uint8_t byte) {
    if (byte != 0) {
        if (s->left != 0) {
            append(s, byte);
            s->left--;
            return false;
        }
        if (s->begun) append(s, 0);
        s->begun = true;
        s->left = (uint8_t)(byte - 1);
        return false;
    }
    const uint32_t count = s->length;
    const bool whole = s->left == 0 && count >= MG_SERIAL_HEADER + MG_SERIAL_CRC && !s->too_long;
    const bool sound = whole && mg_get32(s->request + count - MG_SERIAL_CRC) ==
                                    (uint32_t)~mg_crc32(0xFFFFFFFFu, s->request, count - MG_SERIAL_CRC);
    if (s->too_long) s->long_frames++;
    else if (s->begun && !sound) s->damaged_frames++;
    s->length = 0;
    s->left = 0;
    s->begun = s->too_long = false;
    if (sound) s->answer_bytes = 0;
    return sound && !(s->request[VERB] & MG_VERB_ANSWER); /* an echo of our own answer is no request */
}

bool mg_serial_poll(mg_serial_t *s) {
    int32_t byte;
    while ((byte = s->port->get(s->port->context)) >= 0) {
        uint32_t count = s->length;
        if (!take(s, (uint8_t)byte)) continue;
        count -= MG_SERIAL_HEADER + MG_SERIAL_CRC;
        answer(s, obey(s, s->request + MG_SERIAL_HEADER, count));
        return true;
    }
    return false;
}

void mg_serial_claim(mg_serial_t *s) { mg_serial_abandon(s); }

void mg_serial_open(mg_serial_t *s, const mg_serial_model_t *model, void *m, float *outputs, void *wanted,
                    const mg_serial_port_t *port) {
    memset(s, 0, sizeof *s);
    s->model = model;
    s->m = m;
    s->outputs = outputs;
    s->wanted = wanted;
    s->port = port;
    s->found = MG_LOAD_NO_FLASH;
}

mg_load_t mg_serial_keep(mg_serial_t *s, const mg_serial_keep_t *keep, mg_flash_log_t *log) {
    s->keep = keep;
    s->log = log;
    const mg_load_t found = keep->load(s->m, log);
    s->found = (uint32_t)found;
    return found;
}
