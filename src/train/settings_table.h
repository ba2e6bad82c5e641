/* The rows of the table of settings. */
#ifndef KR_TRAIN_SETTINGS_TABLE_H
#define KR_TRAIN_SETTINGS_TABLE_H

#include "train/settings.h"

typedef struct kr_setting_row {
    krait_setting setting;
    size_t offset; /* of its field in kr_settings */
} kr_setting_row;

extern const kr_setting_row kr_setting_rows[];
extern const size_t kr_n_setting_rows;

/* What a section of the config file is about: "model" -> "The model: ...". */
const char *kr_setting_section_help(const char *section);

#endif
