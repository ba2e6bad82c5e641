/* Sequences of the synthetic tasks. */
#include <string.h>

#include "fixture.h"

#include "cli/task_data.c"

static const kr_task induction = { KR_TASK_INDUCTION, 16, 0 };
static const kr_task selective = { KR_TASK_SELECTIVE_COPYING, 16, 8 };
static const kr_task copying = { KR_TASK_COPYING, 16, 8 };

/* The tokens of a seed are the same on every machine and in every version: results can be repeated. */
static void sequences_are_fixed_by_the_seed(void **state)
{
    (void)state;
    kr_task_sample s;
    int32_t body[32], query[8], answers[8];
    const int32_t expected[16] = { 13, 6, 12, 8, 15, 3, 3, 6, 12, 14, 1, 2, 1, 5, 4, 11 };
    kr_task_draw(&s, &induction, 17, 1, 0);
    kr_task_body(&s, 0, 16, body);
    kr_task_query(&s, query, answers);
    char text[256] = "";
    for (size_t i = 0; i < 16; i++) snprintf(text + strlen(text), sizeof text - strlen(text), "%d, ", body[i]);
    if (memcmp(body, expected, sizeof expected) != 0) fail_msg("found %s", text);
    assert_int_equal(query[0], 15);
}

static void a_body_can_be_made_in_pieces(void **state)
{
    (void)state;
    const kr_task *const tasks[] = { &induction, &selective, &copying };
    for (size_t t = 0; t < 3; t++)
        for (uint64_t index = 0; index < 50; index++) {
            kr_task_sample s;
            int32_t whole[300], pieces[300];
            kr_task_draw(&s, tasks[t], 200, 7, index);
            kr_task_body(&s, 0, 300, whole); /* longer than it was drawn for */
            for (size_t at = 0, n = 1 + index % 7; at < 300; at += n)
                kr_task_body(&s, at, at + n <= 300 ? n : 300 - at, pieces + at);
            assert_memory_equal(whole, pieces, sizeof whole);
        }
}

static void induction_asks_for_what_stood_behind(void **state)
{
    (void)state;
    size_t first[14] = { 0 }, answers_seen[15] = { 0 };
    for (uint64_t index = 0; index < 3000; index++) {
        kr_task_sample s;
        int32_t body[15], query[1], answers[1];
        size_t specials = 0, place = 0;
        kr_task_draw(&s, &induction, 16, 3, index);
        kr_task_body(&s, 0, 15, body);
        kr_task_query(&s, query, answers);
        for (size_t i = 0; i < 15; i++) {
            assert_true(body[i] >= 0 && body[i] < 16);
            if (body[i] == 15) specials++, place = i;
        }
        assert_int_equal(specials, 1);
        assert_true(place < 14);
        assert_int_equal(body[place + 1], answers[0]);
        first[place]++;
        answers_seen[answers[0]]++;
    }
    for (size_t i = 0; i < 14; i++) assert_true(first[i] > 140 && first[i] < 300);
    for (size_t i = 0; i < 15; i++) assert_true(answers_seen[i] > 130 && answers_seen[i] < 270);
    assert_float_equal(kr_task_chance(&induction), 1.0 / 15, 1e-12);
}

static void copying_asks_for_the_data_in_order(void **state)
{
    (void)state;
    size_t at_place[24] = { 0 };
    for (int t = 0; t < 2; t++)
        for (uint64_t index = 0; index < 3000; index++) {
            const kr_task *task = t ? &copying : &selective;
            kr_task_sample s;
            int32_t body[24], query[8], answers[8];
            size_t found = 0;
            kr_task_draw(&s, task, 32, 5, index);
            kr_task_body(&s, 0, 24, body);
            kr_task_query(&s, query, answers);
            for (size_t i = 0; i < 24; i++) {
                if (!body[i]) continue;
                if (t) assert_int_equal(i, found);
                assert_true(found < 8 && body[i] == answers[found] && body[i] < 15);
                found++;
                at_place[i] += t == 0;
            }
            assert_int_equal(found, 8);
            for (size_t i = 0; i < 8; i++) assert_int_equal(query[i], 15);
        }
    for (size_t i = 0; i < 24; i++) assert_true(at_place[i] > 850 && at_place[i] < 1150); /* 1000 expected */
}

/* Learning and testing use other seeds; batches use other numbers. */
static void seeds_and_numbers_give_other_sequences(void **state)
{
    (void)state;
    int32_t a[64], b[64];
    kr_task_sample s;
    for (uint64_t i = 0; i < 2; i++) {
        kr_task_draw(&s, &induction, 65, 1, 0);
        kr_task_body(&s, 0, 64, a);
        kr_task_draw(&s, &induction, 65, 1 + i, 1 - i);
        kr_task_body(&s, 0, 64, b);
        size_t same = 0;
        for (size_t k = 0; k < 64; k++) same += a[k] == b[k];
        assert_true(same < 20);
    }
}

static void shortest_sequences(void **state)
{
    (void)state;
    const kr_task tiny = { KR_TASK_SELECTIVE_COPYING, 4, 3 };
    kr_task_sample s;
    int32_t body[3];
    assert_int_equal(kr_task_min_length(&induction), 3);
    assert_int_equal(kr_task_min_length(&tiny), 6);
    for (uint64_t i = 0; i < 20; i++) {
        kr_task_draw(&s, &induction, 3, 1, i);
        kr_task_body(&s, 0, 2, body);
        assert_int_equal(body[0], 15);
        assert_int_equal(body[1], s.data[0]);
        kr_task_draw(&s, &tiny, 6, 1, i);
        kr_task_body(&s, 0, 3, body);
        assert_memory_equal(body, s.data, sizeof body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_are_fixed_by_the_seed),        cmocka_unit_test(a_body_can_be_made_in_pieces),
        cmocka_unit_test(induction_asks_for_what_stood_behind),   cmocka_unit_test(copying_asks_for_the_data_in_order),
        cmocka_unit_test(seeds_and_numbers_give_other_sequences), cmocka_unit_test(shortest_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
