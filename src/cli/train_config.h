/* The config file of `krait train`: YAML, by libyaml; in a build without it, the part of YAML that is JSON. */
#ifndef KR_CLI_TRAIN_CONFIG_H
#define KR_CLI_TRAIN_CONFIG_H

#include "krait/training.h"

/* Sets what the file says: sections of keys, whose values are words or lists of them. A value of nothing ("key:", ~, null) is as if the key
 * were not there. Errors begin with file and line. */
krait_status kr_train_config_read(krait_training_settings *settings, const char *path, krait_error *error);
/* The same of bytes. */
krait_status kr_train_config_parse(krait_training_settings *settings, const char *name, const char *bytes, size_t size,
                                   krait_error *error);

#endif
