/* What a sequence remembers: one block of float32, laid out by the tables of the model's blocks. */
#ifndef KR_MODEL_STATE_H
#define KR_MODEL_STATE_H

#include <stdatomic.h>

#include "model/block.h"

/* One tensor of a state: held as [rows, channels], shown as [channels, rows] (or [channels] when it is no part of a layer). */
typedef struct kr_state_entry {
    char name[40];
    size_t rows, channels;
    bool is_vector;
    size_t offset; /* in the state's data */
} kr_state_entry;

/* Where everything is; one per model, shared by its states, which may outlive it. */
typedef struct kr_state_layout {
    atomic_size_t references;
    krait_config config;
    size_t n_parts;   /* per layer */
    size_t n_entries; /* n_layer * n_parts + 1: the last is last_hidden */
    size_t count;     /* floats */
    kr_state_entry entries[];
} kr_state_layout;

krait_status kr_state_layout_create(kr_state_layout **layout, const krait_config *config, const kr_block *block,
                                    krait_error *error);
void kr_state_layout_release(kr_state_layout *layout);

struct krait_state {
    kr_state_layout *layout;
    uint64_t tokens;
    float *data;
    bool marked; /* by krait_run(), to see a state given twice */
};

static inline float *kr_state_part_of(const krait_state *state, size_t layer, size_t part)
{
    return state->data + state->layout->entries[layer * state->layout->n_parts + part].offset;
}
static inline float *kr_state_last_hidden(const krait_state *state)
{
    return state->data + state->layout->entries[state->layout->n_entries - 1].offset;
}

/* Whether states of one layout fit a model of the other. */
bool kr_state_layout_fits(const kr_state_layout *a, const kr_state_layout *b);

#endif
