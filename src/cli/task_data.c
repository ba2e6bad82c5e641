#include "cli/task_data.h"

#include <string.h>

/* SplitMix64 (Steele, Lea and Flood 2014) at a place of its sequence: random access to random numbers. */
static uint64_t random_at(uint64_t key, uint64_t place)
{
    uint64_t z = key + (place + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* 0 .. n - 1, n below 2^32, all alike to within n / 2^32. */
static uint64_t below(uint64_t random, uint64_t n) { return (random >> 32) * n >> 32; }

size_t kr_task_n_query(const kr_task *task) { return task->kind == KR_TASK_INDUCTION ? 1 : task->memory; }

size_t kr_task_min_length(const kr_task *task) { return task->kind == KR_TASK_INDUCTION ? 3 : 2 * task->memory; }

double kr_task_chance(const kr_task *task)
{
    return 1.0 / (double)(task->kind == KR_TASK_INDUCTION ? task->vocab_size - 1 : task->vocab_size - 2);
}

/* k of 0 .. n - 1, each set of them alike, in ascending order (Floyd 1987). */
static void draw_places(size_t *places, size_t k, size_t n, uint64_t key)
{
    size_t used = 0;
    for (size_t j = n - k; j < n; j++) {
        size_t place = (size_t)below(random_at(key, j), j + 1), at = 0;
        for (size_t i = 0; i < used; i++)
            if (places[i] == place) place = j;
        while (at < used && places[at] < place) at++;
        memmove(&places[at + 1], &places[at], (used - at) * sizeof *places);
        places[at] = place;
        used++;
    }
}

void kr_task_draw(kr_task_sample *sample, const kr_task *task, size_t length, uint64_t seed, uint64_t index)
{
    /* Three streams of one sequence: of the body, of the places, of the data. */
    uint64_t own = random_at(random_at(seed, 0), index), places = random_at(own, 1), data = random_at(own, 2);
    *sample = (kr_task_sample){ .task = task, .key = random_at(own, 0) };
    if (task->kind == KR_TASK_INDUCTION) {
        sample->places[0] = (size_t)below(random_at(places, 0), length - 2);
        sample->data[0] = (int32_t)below(random_at(data, 0), (uint64_t)task->vocab_size - 1);
        return;
    }
    for (size_t i = 0; i < task->memory; i++) {
        sample->places[i] = i;
        sample->data[i] = 1 + (int32_t)below(random_at(data, i), (uint64_t)task->vocab_size - 2);
    }
    if (task->kind == KR_TASK_SELECTIVE_COPYING) draw_places(sample->places, task->memory, length - task->memory, places);
}

void kr_task_body(const kr_task_sample *sample, size_t first, size_t n, int32_t *tokens)
{
    const kr_task *task = sample->task;
    size_t n_data = task->kind == KR_TASK_INDUCTION ? 0 : task->memory;
    for (size_t i = 0; i < n && task->kind == KR_TASK_INDUCTION; i++)
        tokens[i] = (int32_t)below(random_at(sample->key, first + i), (uint64_t)task->vocab_size - 1);
    if (n_data) memset(tokens, 0, n * sizeof *tokens);
    for (size_t i = 0; i < n_data; i++)
        if (sample->places[i] >= first && sample->places[i] - first < n) tokens[sample->places[i] - first] = sample->data[i];
    if (n_data) return;
    size_t place = sample->places[0];
    if (place >= first && place - first < n) tokens[place - first] = (int32_t)task->vocab_size - 1;
    if (place + 1 >= first && place + 1 - first < n) tokens[place + 1 - first] = sample->data[0];
}

void kr_task_query(const kr_task_sample *sample, int32_t *tokens, int32_t *answers)
{
    for (size_t i = 0; i < kr_task_n_query(sample->task); i++) {
        tokens[i] = (int32_t)sample->task->vocab_size - 1;
        answers[i] = sample->data[i];
    }
}
