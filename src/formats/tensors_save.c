/* krait_tensors_save(): named tensors in a safetensors file, for programs. */
#include <string.h>

#include "base/memory.h"
#include "formats/safetensors.h"

krait_status krait_tensors_save(const char *path, const krait_tensor_info *infos, const void *const *data, size_t n,
                                krait_error *error)
{
    if (!path || (n && (!infos || !data))) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_tensors_save: null argument");
    kr_tensor *tensors = kr_alloc_zero(n, sizeof *tensors);
    if (!tensors) return kr_fail_memory(error, "tensors", n * sizeof *tensors);
    krait_status status = KRAIT_OK;
    for (size_t i = 0; i < n && !status; i++) {
        const krait_tensor_info *info = &infos[i];
        kr_tensor *tensor = &tensors[i];
        size_t count;
        if (!info->name || !data[i])
            status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "tensor %zu: name and data are needed", i);
        else if ((unsigned)info->dtype > KRAIT_DTYPE_BOOL || info->n_dims < 0 || info->n_dims > KRAIT_MAX_DIMS)
            status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: unknown dtype %d, or %d dimensions (0 to %d are possible)",
                             info->name, (int)info->dtype, info->n_dims, KRAIT_MAX_DIMS);
        else {
            tensor->name = info->name;
            tensor->dtype = info->dtype;
            tensor->n_dims = info->n_dims;
            tensor->data = data[i];
            memcpy(tensor->shape, info->shape, sizeof tensor->shape);
            kr_tensor_set_contiguous(tensor);
            if (!kr_tensor_count(tensor, &count))
                status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: its size does not fit 64 bits", info->name);
        }
    }
    if (!status) status = kr_safetensors_write(path, tensors, n, NULL, 0, error);
    kr_free(tensors);
    return status;
}
