/* The model inside the program: what `krait run` uses without -m. */
#ifndef KR_CLI_DEFAULT_MODEL_H
#define KR_CLI_DEFAULT_MODEL_H

#include <stddef.h>

#include "krait/krait.h"

/* The files of models/default; none in a build without a default model. */
size_t kr_default_model(const krait_blob **files);

#endif
