/* The small files of a folder that a model is saved into. */
#ifndef KR_MODEL_SAVE_FILES_H
#define KR_MODEL_SAVE_FILES_H

#include "base/status.h"

/* Makes a folder, or takes an empty one; anything else in it is an error. */
krait_status kr_folder_begin(const char *folder, bool *made, krait_error *error);
/* A file in it, complete or not at all. */
krait_status kr_folder_add(const char *folder, const char *name, const char *data, size_t size, krait_error *error);
/* config.json as transformers writes it; type: of the weights, KRAIT_WEIGHT_AUTO: not mentioned. */
krait_status kr_folder_add_config(const char *folder, const krait_config *config, krait_weight_type type, krait_error *error);
/* Removes what was added, and the folder if it was made. */
void kr_folder_abandon(const char *folder, bool made);

#endif
