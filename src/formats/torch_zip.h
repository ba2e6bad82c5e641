/* pytorch_model.bin as torch.save() has written it since 1.6: a zip of stored entries, one of which (data.pkl) is a pickle of a
 * dict from names to tensors. The pickle is read by a machine that knows only what rebuilding tensors needs, and runs nothing. */
#ifndef KR_FORMATS_TORCH_ZIP_H
#define KR_FORMATS_TORCH_ZIP_H

#include "base/file.h"
#include "base/memory.h"
#include "tensor/tensor.h"

/* Whether the bytes begin like a zip archive, or like a torch file from before 1.6 (which reading then refuses with advice). */
bool kr_torch_zip_is(const char *data, size_t size);

/* Lists the tensors of the dict, or of the dict in it under "state_dict", "model_state_dict" or "model"; they point into the file's
 * bytes (so compressed entries are refused) and live in the arena, in the dict's order. Tensors may share storage and have strides.
 * Entries that are no tensors are left out. */
krait_status kr_torch_zip_read(kr_tensor **tensors, size_t *n_tensors, kr_arena *arena, const kr_file *file, krait_error *error);

#endif
