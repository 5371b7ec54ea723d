/* A compiled model behind a serial line: the device's side of PROTOCOL.md, for any model and any port.
 *
 * Nothing here allocates, waits for a byte or needs an interrupt. <name>_serial.h joins it to a model; a firmware calls
 * mg_serial_poll from its main loop. It is linked only where it is called: below 4 KB of flash, sizeof(mg_serial_t) of SRAM.
 */
#ifndef MG_SERIAL_H
#define MG_SERIAL_H

#include "mcugrad.h"
#include "mg_flash.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MG_SERIAL_VERSION = 1,
    MG_SERIAL_HEADER = 8,    /* verb, status, sequence (2), session (4); little endian, as everything */
    MG_SERIAL_PAYLOAD = 240, /* at most */
    MG_SERIAL_CRC = 4,
    MG_SERIAL_FRAME = MG_SERIAL_HEADER + MG_SERIAL_PAYLOAD + MG_SERIAL_CRC, /* before COBS, which adds a byte */
    MG_SERIAL_KEPT = 16,     /* payload of an answer that is remembered */
    MG_SERIAL_WINDOW = 4     /* answers that are remembered, so requests that may be unanswered at once */
};
#define MG_SERIAL_RESTART 0x80000000u /* the offset that begins a sample behind one that was dropped */

typedef enum {
    MG_VERB_INFO = 0x01, /* outside of any session */
    MG_VERB_OPEN = 0x02,
    MG_VERB_SAMPLE = 0x10, /* these change something: executed once, their answers remembered */
    MG_VERB_PREDICT,
    MG_VERB_TRAIN,
    MG_VERB_EVALUATE,
    MG_VERB_SCORE,
    MG_VERB_PLAN,
    MG_VERB_SAVE,
    MG_VERB_LOAD,
    MG_VERB_RESET,
    MG_VERB_BEGIN,
    MG_VERB_WRITE,
    MG_VERB_COMMIT,
    MG_VERB_READ = 0x20, /* these only read: a repeated request is executed again */
    MG_VERB_STATISTICS,
    MG_VERB_CHECK,
    MG_VERB_ANSWER = 0x80 /* set in an answer */
} mg_verb_t;

typedef enum {
    MG_STATUS_OK = 0,
    MG_STATUS_SESSION,  /* another session, or none since the device was reset */
    MG_STATUS_ORDER,    /* not the next request: the payload is the sequence of the last one */
    MG_STATUS_VERB,     /* unknown */
    MG_STATUS_FORMAT,   /* payload of a wrong length, or a place that is not there */
    MG_STATUS_SAMPLE,   /* not the sample's next bytes, or it is not complete: begin it anew with MG_SERIAL_RESTART */
    MG_STATUS_FROZEN,   /* the model was compiled without training */
    MG_STATUS_LABEL,    /* no class */
    MG_STATUS_MODEL,    /* the state is another model's */
    MG_STATUS_WRITING,  /* a state is half written: COMMIT it, or LOAD or RESET */
    MG_STATUS_DAMAGED   /* the written state has another CRC: the saved one is back, or factory weights */
} mg_status_t;

typedef enum { MG_REGION_STATE, MG_REGION_OUTPUTS, MG_REGION_SCALES } mg_region_t; /* of READ */

enum { MG_TRAIN_UPDATED = 1, MG_TRAIN_DIVERGED = 2, MG_TRAIN_CHECKPOINT_DUE = 4 };

/* The port, which is yours. */
typedef struct {
    int32_t (*get)(void *context);            /* the next byte that has come, or -1; never waits */
    void (*put)(void *context, uint8_t byte); /* waits until there is room */
    uint32_t (*stack)(void *context);         /* bytes of stack ever used, or NULL */
    void *context;
    uint32_t window; /* 1, and 1 more for each 256 bytes that are kept for `get` while the device computes; at most
                      * MG_SERIAL_WINDOW. With 2 the host sends a sample while the device learns from the one before. */
} mg_serial_port_t;

/* Behind each other in every state: its bookkeeping. */
typedef struct {
    uint32_t seed, step, total_steps;
    int32_t schedule;
    float learning_rate;
    mg_loss_watch_t watch;
} mg_serial_plan_t;

/* What the protocol knows of a model. `m` is the model's struct, which begins with its state. */
typedef struct {
    const mg_model_id_t *id;
    uint32_t input_len, row_len;      /* int8 elements of a sample, and of the rows that it is pushed in, or 0 */
    uint32_t output_len, target_len;  /* float32 values; target_len 0: a class label */
    uint32_t plan, counters, n_scales; /* offsets in m of a mg_serial_plan_t and of clipped_errors, saturated_weights and
                                        * n_scales error scales behind each other */
    void (*init)(void *m);
    int8_t *(*place)(void *m);   /* of the sample, or of its next row */
    void (*begin)(void *m);      /* rows of a sample that was broken off are forgotten; NULL without rows */
    void (*push)(void *m);       /* takes in the row; NULL without rows */
    void (*predict)(void *m, float *outputs);
    bool (*train)(void *m, const void *wanted, float *loss); /* NULL: the model does not train, nor do the next */
    bool (*checkpoint_due)(void *m);
    void (*replan)(void *m, mg_schedule_t schedule, float learning_rate, uint32_t steps, uint32_t seed);
} mg_serial_model_t;

/* How a model is saved: NULL where nothing is. */
typedef struct {
    mg_load_t (*load)(void *m, mg_flash_log_t *log);
    mg_save_t (*save)(const void *m, mg_flash_log_t *log);
    bool (*clear)(mg_flash_log_t *log);
} mg_serial_keep_t;

typedef struct {
    uint16_t sequence;
    uint8_t verb, status, bytes;
    uint8_t payload[MG_SERIAL_KEPT];
} mg_serial_kept_t;

/* Everything the protocol remembers. Its fields are its own. */
typedef struct {
    const mg_serial_model_t *model;
    const mg_serial_port_t *port;
    const mg_serial_keep_t *keep;
    mg_flash_log_t *log;
    void *m;
    float *outputs; /* output_len */
    void *wanted;   /* target_len floats, or a label */
    uint32_t session, found;
    uint32_t filled;  /* bytes of the sample that have come */
    uint32_t written; /* bytes of the state */
    uint32_t scored, correct;
    float score_loss, last_loss;
    uint32_t damaged_frames, long_frames;
    uint16_t sequence; /* of the last request that was executed */
    uint16_t length;   /* of the frame that is coming in */
    uint8_t left;      /* bytes to its next zero */
    bool begun, too_long;
    bool dropped; /* the sample: the next one must begin with MG_SERIAL_RESTART */
    bool writing; /* a state is half written */
    uint8_t answer_bytes;
    mg_serial_kept_t kept[MG_SERIAL_WINDOW];
    MG_ALIGNED(4) uint8_t request[MG_SERIAL_FRAME];
    MG_ALIGNED(4) uint8_t answer[MG_SERIAL_FRAME];
} mg_serial_t;

/* `m` has been initialised; `outputs` and `wanted` as above. */
void mg_serial_open(mg_serial_t *s, const mg_serial_model_t *model, void *m, float *outputs, void *wanted,
                    const mg_serial_port_t *port);
/* Loads what was saved, and lets the host save. The answer tells what the model starts from. */
mg_load_t mg_serial_keep(mg_serial_t *s, const mg_serial_keep_t *keep, mg_flash_log_t *log);
/* Takes in what has come, and does what the first whole request wants. False when there was none. */
bool mg_serial_poll(mg_serial_t *s);
/* Before the firmware itself uses the model between two polls: a sample that is half-way in is dropped, and the host sends
 * it again; a state that is half written is given up, and the saved one or factory weights take its place. */
void mg_serial_claim(mg_serial_t *s);

/* Whether the host is half-way in with a sample or a state: the firmware that waits loses neither. */
static inline bool mg_serial_busy(const mg_serial_t *s) { return s->filled != 0 || s->writing; }

#ifdef __cplusplus
}
#endif
#endif
