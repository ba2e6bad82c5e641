/* metrics.jsonl of a run: one JSON object a line, appended at once. Lines:
 *
 *   {"step":10,"tokens":40960,"loss":5.43,"lr":0.001,"grad_norm":1.2,"tokens_per_second":12000,"gemm_share":0.61,"seconds":3.4,
 *    "time":"2026-01-01T00:00:00Z"}                                  means over the steps since the last such line
 *   {"step":100,"tokens":409600,"held_out_loss":4.2,"held_out_bits_per_byte":1.9,"held_out_tokens":..}
 *   {"step":100,"sample":"text"}
 *   {"event":"resumed","step":100}, and others with "event"
 *
 * Readers ignore keys that they do not know, and a last line that is cut. */
#ifndef KR_TRAIN_METRICS_H
#define KR_TRAIN_METRICS_H

#include "base/json.h"
#include "base/status.h"

typedef struct kr_metrics {
    char *path;
    int fd;
    uint64_t bytes; /* written so far */
} kr_metrics;

/* Opens the file for going on behind its first `keep` bytes; the rest is cut off. */
krait_status kr_metrics_open(kr_metrics *metrics, const char *path, uint64_t keep, krait_error *error);
/* A line of members: begin opens it, the caller writes keys and values, end appends it. */
void kr_metrics_begin(kr_json_writer *line);
krait_status kr_metrics_end(kr_metrics *metrics, kr_json_writer *line, krait_error *error);
krait_status kr_metrics_sync(kr_metrics *metrics, krait_error *error);
/* Safe on a zeroed one. */
void kr_metrics_close(kr_metrics *metrics);

#endif
