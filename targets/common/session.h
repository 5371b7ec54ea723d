/* session.bin and result.bin: all fields little-endian, 32 bits each. compiler/mcugrad/simulate/session.py mirrors this.
 *
 * session.bin = mg_command_t, state (state_len bytes), n_train records, n_test records; a record is input_len int8, then
 * an int32 label (target_len == 0) or target_len float32.
 * cache.bin, where cache_len is not 0: n_train times cache_len bytes, written in the first epoch and read in those after it.
 * checkpoint.bin, in MG_TRAIN: the state that a divergence restores.
 * result.bin = mg_result_t, n_losses float32, n_outputs float32, n_profile pairs (call, ticks), state (state_len bytes). */
#ifndef MG_SESSION_H
#define MG_SESSION_H

#include <stdint.h>

#define MG_COMMAND_MAGIC 0x4353474Du /* "MGSC" */
#define MG_RESULT_MAGIC 0x5253474Du  /* "MGSR" */
#define MG_SESSION_VERSION 2u

typedef enum {
    MG_EVALUATE = 0, /* the test records */
    MG_TRAIN = 1,    /* evaluate, train `epochs` epochs, evaluate; one mean loss an epoch; a divergence ends it */
    MG_STEPS = 2,    /* `steps` training steps over the train records in file order, from record first_step on; every loss */
    MG_BENCH = 3,    /* `warmup` training steps, then `steps` timed predictions and `steps` timed training steps */
    MG_PREDICT = 4   /* the outputs of every test record */
} mg_mode_t;

typedef struct {
    uint32_t magic, version, mode;
    uint32_t input_len, output_len, target_len; /* must be the model's */
    uint32_t state_len;                         /* 0: factory weights; else sizeof <name>_state_t */
    uint32_t n_train, n_test;
    uint32_t epochs, steps, warmup;
    uint32_t first_step;    /* MG_STEPS: above 0 continues the plan inside the given state */
    uint32_t planned_steps; /* what the schedule spans; 0: the steps of this session */
    float learning_rate;
    uint32_t schedule, seed;
    uint32_t shuffle; /* MG_TRAIN: 0 keeps the file's order */
    uint32_t cache_len; /* MG_TRAIN: <NAME>_PREFIX_LEN, and the frozen prefix runs in the first epoch alone; or 0 */
    uint32_t reserved;
} mg_command_t;

/* Figures come in pairs: [0] before, [1] after the training; without a training only [1]. */
typedef struct {
    uint32_t magic, version, mode;
    uint32_t state_len, n_losses, n_outputs, n_profile;
    uint32_t steps;         /* training steps done */
    uint32_t correct[2];    /* test records whose largest output (the first of equals) is the label's */
    float loss[2];          /* with targets: sum over the test records of the mean squared error */
    uint32_t not_finite;    /* steps that changed nothing because their loss was not finite */
    uint32_t clipped_errors, saturated_weights;
    uint32_t stack_high_water, stack_reserve;
    uint32_t timer_overhead; /* ticks of an empty interval, contained in every interval */
    uint32_t n_timed;        /* intervals in each of the two sums */
    uint32_t predict_ticks[2], step_ticks[2]; /* sums, low word first */
    uint32_t first_ticks[2], later_ticks[2];  /* MG_TRAIN: of the first epoch's steps, of all the others */
    uint32_t diverged_step; /* the training step that found it; 0: none did */
    uint32_t restored_step; /* MG_TRAIN, where it diverged: the steps behind the state that it ends with */
    uint32_t checkpoints;
    uint32_t reserved[2];
} mg_result_t;

/* Calls that mark a pass in the profile; the others are indices of the manifest's calls. */
#define MG_PROFILE_PREDICT 0xFFFF0000u
#define MG_PROFILE_STEP 0xFFFF0001u

#endif
