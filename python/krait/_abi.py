"""The C API for ctypes. Written by tools/make_abi.py from include/krait/*.h: change those."""
from ctypes import (CFUNCTYPE, POINTER, Structure, c_bool, c_char, c_char_p, c_double, c_float, c_int, c_int32, c_int64,
                    c_size_t, c_ssize_t, c_uint64, c_void_p)
from typing import Any, Dict, List, Tuple

# krait_status
KRAIT_OK = 0
KRAIT_ERROR_ARGUMENT = 1
KRAIT_ERROR_IO = 2
KRAIT_ERROR_FORMAT = 3
KRAIT_ERROR_UNSUPPORTED = 4
KRAIT_ERROR_MEMORY = 5
KRAIT_ERROR_INTERRUPTED = 6

# krait_family
KRAIT_FAMILY_MAMBA = 0
KRAIT_FAMILY_FALCON_MAMBA = 1

# krait_dtype
KRAIT_DTYPE_F32 = 0
KRAIT_DTYPE_F16 = 1
KRAIT_DTYPE_BF16 = 2
KRAIT_DTYPE_F64 = 3
KRAIT_DTYPE_I8 = 4
KRAIT_DTYPE_I16 = 5
KRAIT_DTYPE_I32 = 6
KRAIT_DTYPE_I64 = 7
KRAIT_DTYPE_U8 = 8
KRAIT_DTYPE_U16 = 9
KRAIT_DTYPE_U32 = 10
KRAIT_DTYPE_U64 = 11
KRAIT_DTYPE_BOOL = 12
KRAIT_DTYPE_Q8_0 = 13
KRAIT_DTYPE_Q4_0 = 14
KRAIT_DTYPE_Q4_1 = 15
KRAIT_DTYPE_Q5_0 = 16
KRAIT_DTYPE_Q5_1 = 17
KRAIT_DTYPE_Q2_K = 18
KRAIT_DTYPE_Q3_K = 19
KRAIT_DTYPE_Q4_K = 20
KRAIT_DTYPE_Q5_K = 21
KRAIT_DTYPE_Q6_K = 22
KRAIT_DTYPE_IQ4_NL = 23
KRAIT_DTYPE_PACKED_Q8 = 24
KRAIT_DTYPE_PACKED_Q4 = 25
KRAIT_DTYPE_PACKED_Q6 = 26

# krait_weight_type
KRAIT_WEIGHT_AUTO = 0
KRAIT_WEIGHT_F32 = 1
KRAIT_WEIGHT_F16 = 2
KRAIT_WEIGHT_BF16 = 3
KRAIT_WEIGHT_Q8 = 4
KRAIT_WEIGHT_Q4 = 5
KRAIT_WEIGHT_Q6 = 6

# krait_isa
KRAIT_ISA_AUTO = 0
KRAIT_ISA_PLAIN = 1
KRAIT_ISA_AVX2 = 2
KRAIT_ISA_AVX512 = 3
KRAIT_ISA_NEON = 4
KRAIT_ISA_AVX512_BF16 = 5
KRAIT_ISA_AVX2_VNNI = 6
KRAIT_ISA_NEON_DOT = 7
KRAIT_ISA_NEON_BF16 = 8
KRAIT_ISA_AVX512_AMX = 9
KRAIT_N_ISAS = 10

# krait_want
KRAIT_WANT_NONE = 0
KRAIT_WANT_LAST = 1
KRAIT_WANT_ALL = 2
KRAIT_WANT_LISTED = 3

# krait_finish
KRAIT_FINISH_LENGTH = 0
KRAIT_FINISH_EOS = 1
KRAIT_FINISH_STOP_ID = 2
KRAIT_FINISH_STOP_STRING = 3
KRAIT_FINISH_CALLBACK = 4

# krait_invalid
KRAIT_INVALID_ERROR = 0
KRAIT_INVALID_REPLACE = 1
KRAIT_INVALID_SKIP = 2

# krait_tokenizer_kind
KRAIT_TOKENIZER_BPE = 0
KRAIT_TOKENIZER_BYTES = 1
KRAIT_TOKENIZER_CHARACTERS = 2

# krait_order
KRAIT_ORDER_SHUFFLED = 0
KRAIT_ORDER_STREAMS = 1

# krait_schedule
KRAIT_SCHEDULE_COSINE = 0
KRAIT_SCHEDULE_WSD = 1
KRAIT_SCHEDULE_CONSTANT = 2

# krait_setting_type
KRAIT_SETTING_TEXT = 0
KRAIT_SETTING_FILE = 1
KRAIT_SETTING_CHOICE = 2
KRAIT_SETTING_COUNT = 3
KRAIT_SETTING_NUMBER = 4
KRAIT_SETTING_TEXTS = 5
KRAIT_SETTING_FILES = 6

# krait_training_event_type
KRAIT_TRAINING_STEP = 0
KRAIT_TRAINING_EVALUATION = 1
KRAIT_TRAINING_SAMPLE = 2
KRAIT_TRAINING_CHECKPOINT = 3
KRAIT_TRAINING_NOTE = 4
KRAIT_TRAINING_WORK = 5


class krait_error(Structure):
    _fields_ = [
        ("status", c_int),
        ("message", c_char * 512),
    ]


krait_progress_report = CFUNCTYPE(c_bool, c_void_p, c_char_p, c_uint64, c_uint64)

class krait_progress(Structure):
    _fields_ = [
        ("report", krait_progress_report),
        ("user", c_void_p),
    ]


class krait_config(Structure):
    _fields_ = [
        ("family", c_int),
        ("vocab_size", c_int64),
        ("d_model", c_int64),
        ("n_layer", c_int64),
        ("d_inner", c_int64),
        ("d_state", c_int64),
        ("d_conv", c_int64),
        ("dt_rank", c_int64),
        ("proj_bias", c_bool),
        ("conv_bias", c_bool),
        ("tied_head", c_bool),
        ("norm_eps", c_float),
        ("mixer_norm_eps", c_float),
        ("bos_id", c_int32),
        ("eos_id", c_int32),
    ]


class krait_tensor_info(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("file", c_char_p),
        ("dtype", c_int),
        ("n_dims", c_int),
        ("shape", c_uint64 * 8),
        ("bytes", c_uint64),
    ]


class krait_blob(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("data", c_void_p),
        ("size", c_size_t),
    ]


class krait_load_options(Structure):
    _fields_ = [
        ("threads", c_int),
        ("type", c_int),
        ("progress", krait_progress),
    ]


class krait_type_choice(Structure):
    _fields_ = [
        ("pattern", c_char_p),
        ("type", c_int),
    ]


class krait_saved_tensor(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("source_name", c_char_p),
        ("from", c_int),
        ("to", c_int),
        ("elements", c_uint64),
        ("bytes", c_uint64),
        ("error", c_double),
        ("reason", c_char_p),
    ]


krait_save_options_on_tensor = CFUNCTYPE(None, c_void_p, POINTER(krait_saved_tensor))

class krait_save_options(Structure):
    _fields_ = [
        ("type", c_int),
        ("choices", POINTER(krait_type_choice)),
        ("n_choices", c_size_t),
        ("calibration", c_void_p),
        ("n_calibration", c_size_t),
        ("tune_steps", c_size_t),
        ("requantize", c_bool),
        ("threads", c_int),
        ("on_tensor", krait_save_options_on_tensor),
        ("user", c_void_p),
        ("progress", krait_progress),
    ]


class krait_session_options(Structure):
    _fields_ = [
        ("threads", c_int),
        ("isa", c_int),
        ("chunk_tokens", c_size_t),
        ("progress", krait_progress),
    ]


class krait_sequence(Structure):
    _fields_ = [
        ("state", c_void_p),
        ("tokens", c_void_p),
        ("count", c_size_t),
        ("want", c_int),
        ("rows", c_void_p),
        ("n_rows", c_size_t),
    ]


class krait_outputs(Structure):
    _fields_ = [
        ("logits", c_void_p),
        ("hidden", c_void_p),
        ("layers", c_void_p),
        ("n_layers", c_size_t),
    ]


class krait_encode_options(Structure):
    _fields_ = [
        ("no_special", c_bool),
    ]


class krait_logit_bias(Structure):
    _fields_ = [
        ("id", c_int32),
        ("bias", c_float),
    ]


class krait_sampling(Structure):
    _fields_ = [
        ("temperature", c_float),
        ("top_k", c_int32),
        ("top_p", c_float),
        ("min_p", c_float),
        ("repetition_penalty", c_float),
        ("presence_penalty", c_float),
        ("frequency_penalty", c_float),
        ("penalty_window", c_size_t),
        ("seed", c_uint64),
        ("logit_bias", POINTER(krait_logit_bias)),
        ("n_logit_bias", c_size_t),
    ]


class krait_candidate(Structure):
    _fields_ = [
        ("id", c_int32),
        ("probability", c_float),
    ]


class krait_piece(Structure):
    _fields_ = [
        ("id", c_int32),
        ("logprob", c_float),
        ("text", c_void_p),
        ("text_length", c_size_t),
    ]


krait_generate_options_on_piece = CFUNCTYPE(c_bool, c_void_p, POINTER(krait_piece))

class krait_generate_options(Structure):
    _fields_ = [
        ("sampling", krait_sampling),
        ("max_tokens", c_uint64),
        ("stop", c_void_p),
        ("n_stop", c_size_t),
        ("stop_ids", c_void_p),
        ("n_stop_ids", c_size_t),
        ("ignore_eos", c_bool),
        ("keep_special", c_bool),
        ("logprobs", c_bool),
        ("on_piece", krait_generate_options_on_piece),
        ("user", c_void_p),
        ("progress", krait_progress),
    ]


class krait_generate_result(Structure):
    _fields_ = [
        ("finish", c_int),
        ("stop_index", c_size_t),
        ("n_prompt", c_uint64),
        ("n_generated", c_uint64),
        ("prefill_seconds", c_double),
        ("decode_seconds", c_double),
    ]


krait_batch_request_on_end = CFUNCTYPE(None, c_void_p, POINTER(krait_generate_result), POINTER(krait_error))

class krait_batch_request(Structure):
    _fields_ = [
        ("tokenizer", c_void_p),
        ("from", c_void_p),
        ("prompt", c_void_p),
        ("n_prompt", c_size_t),
        ("options", POINTER(krait_generate_options)),
        ("on_end", krait_batch_request_on_end),
    ]


class krait_perplexity_options(Structure):
    _fields_ = [
        ("window", c_size_t),
        ("progress", krait_progress),
    ]


class krait_perplexity_result(Structure):
    _fields_ = [
        ("n_scored", c_uint64),
        ("nats", c_double),
        ("nats_per_token", c_double),
        ("standard_error", c_double),
        ("perplexity", c_double),
    ]


class krait_comparison(Structure):
    _fields_ = [
        ("base", krait_perplexity_result),
        ("other", krait_perplexity_result),
        ("kl_divergence", c_double),
        ("kl_standard_error", c_double),
        ("kl_p99", c_double),
        ("kl_max", c_double),
        ("top1_agreement", c_double),
        ("top1_standard_error", c_double),
        ("nats_difference", c_double),
        ("nats_difference_standard_error", c_double),
        ("perplexity_ratio", c_double),
        ("perplexity_ratio_standard_error", c_double),
    ]


class krait_hub_options(Structure):
    _fields_ = [
        ("cache", c_char_p),
        ("endpoint", c_char_p),
        ("token", c_char_p),
        ("offline", c_bool),
        ("progress", krait_progress),
    ]


class krait_hub_model(Structure):
    _fields_ = [
        ("name", c_char * 200),
        ("revision", c_char * 256),
        ("commit", c_char * 65),
        ("bytes", c_uint64),
        ("complete", c_bool),
    ]


class krait_token_file_info(Structure):
    _fields_ = [
        ("n_tokens", c_uint64),
        ("n_documents", c_uint64),
        ("n_bytes", c_uint64),
        ("vocab_size", c_int64),
        ("separator", c_int32),
        ("width", c_int),
        ("masked", c_bool),
        ("tokenizer_fingerprint", c_uint64),
        ("checksum", c_uint64),
    ]


class krait_token_writer_options(Structure):
    _fields_ = [
        ("vocab_size", c_int64),
        ("no_separator", c_bool),
        ("separator", c_int32),
        ("tokenizer_fingerprint", c_uint64),
    ]


class krait_corpus(Structure):
    _fields_ = [
        ("paths", c_void_p),
        ("n_paths", c_size_t),
        ("include", c_void_p),
        ("n_include", c_size_t),
        ("exclude", c_void_p),
        ("n_exclude", c_size_t),
        ("json_field", c_char_p),
        ("prompt_field", c_char_p),
        ("separator", c_char_p),
        ("crlf", c_bool),
        ("invalid", c_int),
    ]


class krait_data_options(Structure):
    _fields_ = [
        ("held_out_path", c_char_p),
        ("held_out", c_void_p),
        ("n_held_out", c_size_t),
        ("held_out_share", c_double),
        ("seed", c_uint64),
        ("no_special", c_bool),
        ("no_separator", c_bool),
        ("separator", c_int32),
        ("threads", c_int),
        ("progress", krait_progress),
    ]


class krait_data_result(Structure):
    _fields_ = [
        ("training", krait_token_file_info),
        ("held_out", krait_token_file_info),
        ("n_files", c_uint64),
        ("n_bytes", c_uint64),
        ("n_empty", c_uint64),
        ("n_invalid", c_uint64),
    ]


class krait_tokenizer_training(Structure):
    _fields_ = [
        ("kind", c_int),
        ("vocab_size", c_size_t),
        ("special", c_void_p),
        ("n_special", c_size_t),
        ("no_special", c_bool),
        ("nfc", c_bool),
        ("digits", c_bool),
        ("min_count", c_uint64),
        ("alphabet", c_char_p),
        ("unknown", c_char_p),
        ("threads", c_int),
        ("progress", krait_progress),
    ]


class krait_tokenizer_trained(Structure):
    _fields_ = [
        ("vocab_size", c_size_t),
        ("n_merges", c_size_t),
        ("n_bytes", c_uint64),
        ("n_words", c_uint64),
        ("n_distinct", c_uint64),
    ]


class krait_train_row(Structure):
    _fields_ = [
        ("tokens", c_void_p),
        ("targets", c_void_p),
        ("count", c_size_t),
        ("starts", c_void_p),
        ("n_starts", c_size_t),
        ("state", c_void_p),
    ]


class krait_trainer_options(Structure):
    _fields_ = [
        ("learning_rate", c_float),
        ("min_learning_rate", c_float),
        ("beta1", c_float),
        ("beta2", c_float),
        ("epsilon", c_float),
        ("weight_decay", c_float),
        ("clip_norm", c_float),
        ("dt_min", c_float),
        ("dt_max", c_float),
        ("schedule", c_int),
        ("warmup_steps", c_uint64),
        ("total_steps", c_uint64),
        ("decay_steps", c_uint64),
        ("compute", c_int),
        ("recompute", c_bool),
        ("keep_states", c_bool),
        ("piece_tokens", c_size_t),
        ("threads", c_int),
        ("isa", c_int),
        ("freeze", c_void_p),
        ("n_freeze", c_size_t),
        ("progress", krait_progress),
    ]


class krait_train_step(Structure):
    _fields_ = [
        ("step", c_uint64),
        ("loss", c_double),
        ("n_targets", c_uint64),
        ("grad_norm", c_double),
        ("learning_rate", c_double),
        ("finite", c_bool),
        ("nonfinite", c_char_p),
    ]


class krait_trainer_memory(Structure):
    _fields_ = [
        ("parameters", c_uint64),
        ("gradients", c_uint64),
        ("moments", c_uint64),
        ("activations", c_uint64),
        ("scratch", c_uint64),
    ]


class krait_setting(Structure):
    _fields_ = [
        ("type", c_int),
        ("key", c_char_p),
        ("flag", c_char_p),
        ("argument", c_char_p),
        ("initial", c_char_p),
        ("help", c_char_p),
        ("minimum", c_double),
        ("maximum", c_double),
        ("may_change", c_bool),
    ]


class krait_training_event(Structure):
    _fields_ = [
        ("type", c_int),
        ("text", c_char_p),
        ("done", c_uint64),
        ("total", c_uint64),
        ("step", c_uint64),
        ("n_steps", c_uint64),
        ("tokens", c_uint64),
        ("epoch", c_double),
        ("loss", c_double),
        ("grad_norm", c_double),
        ("learning_rate", c_double),
        ("tokens_per_second", c_double),
        ("gemm_share", c_double),
        ("seconds", c_double),
        ("seconds_left", c_double),
        ("held_out_loss", c_double),
        ("held_out_bits_per_byte", c_double),
        ("best_held_out_loss", c_double),
    ]


krait_training_options_on_event = CFUNCTYPE(c_bool, c_void_p, POINTER(krait_training_event))

class krait_training_options(Structure):
    _fields_ = [
        ("resume", c_bool),
        ("allow_changes", c_bool),
        ("from_step", c_uint64),
        ("on_event", krait_training_options_on_event),
        ("user", c_void_p),
    ]


class krait_training_plan(Structure):
    _fields_ = [
        ("config", krait_config),
        ("parameters", c_uint64),
        ("train_tokens", c_uint64),
        ("held_out_tokens", c_uint64),
        ("tokens_per_step", c_uint64),
        ("n_steps", c_uint64),
        ("epochs", c_double),
        ("memory", krait_trainer_memory),
        ("checkpoint_bytes", c_uint64),
        ("seconds_per_step", c_double),
        ("gemm_share", c_double),
    ]


class krait_input(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("stride", c_ssize_t * 4),
    ]


class krait_output(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("stride", c_ssize_t * 4),
    ]


class krait_op_options(Structure):
    _fields_ = [
        ("threads", c_int),
        ("isa", c_int),
    ]


class krait_selective_scan(Structure):
    _fields_ = [
        ("batch", c_size_t),
        ("dim", c_size_t),
        ("length", c_size_t),
        ("d_state", c_size_t),
        ("n_groups", c_size_t),
        ("starts", c_void_p),
        ("n_sequences", c_size_t),
        ("u", krait_input),
        ("delta", krait_input),
        ("A", krait_input),
        ("B", krait_input),
        ("C", krait_input),
        ("fixed_B", c_bool),
        ("fixed_C", c_bool),
        ("is_complex", c_bool),
        ("delta_softplus", c_bool),
        ("D", krait_input),
        ("z", krait_input),
        ("delta_bias", krait_input),
        ("initial_state", krait_input),
        ("out", krait_output),
        ("last_state", krait_output),
        ("saved", c_void_p),
    ]


class krait_selective_scan_gradients(Structure):
    _fields_ = [
        ("dout", krait_input),
        ("dlast_state", krait_input),
        ("du", krait_output),
        ("ddelta", krait_output),
        ("dz", krait_output),
        ("dA", krait_output),
        ("dB", krait_output),
        ("dC", krait_output),
        ("dD", krait_output),
        ("ddelta_bias", krait_output),
        ("dinitial_state", krait_output),
    ]


class krait_state_update(Structure):
    _fields_ = [
        ("batch", c_size_t),
        ("dim", c_size_t),
        ("d_state", c_size_t),
        ("n_groups", c_size_t),
        ("state", krait_output),
        ("x", krait_input),
        ("dt", krait_input),
        ("A", krait_input),
        ("B", krait_input),
        ("C", krait_input),
        ("D", krait_input),
        ("dt_bias", krait_input),
        ("z", krait_input),
        ("dt_softplus", c_bool),
        ("out", krait_output),
    ]


class krait_causal_conv1d(Structure):
    _fields_ = [
        ("batch", c_size_t),
        ("dim", c_size_t),
        ("length", c_size_t),
        ("width", c_size_t),
        ("starts", c_void_p),
        ("n_sequences", c_size_t),
        ("x", krait_input),
        ("weight", krait_input),
        ("bias", krait_input),
        ("silu", c_bool),
        ("initial_state", krait_input),
        ("out", krait_output),
        ("final_state", krait_output),
    ]


class krait_causal_conv1d_gradients(Structure):
    _fields_ = [
        ("dout", krait_input),
        ("dfinal_state", krait_input),
        ("dx", krait_output),
        ("dweight", krait_output),
        ("dbias", krait_output),
        ("dinitial_state", krait_output),
    ]


class krait_rms_norm(Structure):
    _fields_ = [
        ("rows", c_size_t),
        ("dim", c_size_t),
        ("x", krait_input),
        ("weight", krait_input),
        ("eps", c_float),
        ("out", krait_output),
    ]


class krait_rms_norm_gradients(Structure):
    _fields_ = [
        ("dout", krait_input),
        ("dx", krait_output),
        ("dweight", krait_output),
    ]


# name: (result, arguments)
FUNCTIONS: Dict[str, Tuple[Any, List[Any]]] = {
    "krait_version": (c_char_p, []),
    "krait_build_info": (c_char_p, []),
    "krait_status_name": (c_char_p, [c_int]),
    "krait_free": (None, [c_void_p]),
    "krait_family_name": (c_char_p, [c_int]),
    "krait_config_named": (c_int, [POINTER(krait_config), c_char_p, POINTER(krait_error)]),
    "krait_config_parameters": (c_uint64, [POINTER(krait_config)]),
    "krait_dtype_name": (c_char_p, [c_int]),
    "krait_checkpoint_open": (c_int, [c_void_p, c_char_p, POINTER(krait_error)]),
    "krait_checkpoint_open_memory": (c_int, [c_void_p, POINTER(krait_blob), c_size_t, POINTER(krait_error)]),
    "krait_checkpoint_free": (None, [c_void_p]),
    "krait_checkpoint_n_tensors": (c_size_t, [c_void_p]),
    "krait_checkpoint_tensor": (c_int, [c_void_p, c_size_t, POINTER(krait_tensor_info)]),
    "krait_checkpoint_count_nonfinite": (c_int, [c_void_p, c_size_t, c_void_p, c_void_p]),
    "krait_checkpoint_layout": (c_char_p, [c_void_p]),
    "krait_checkpoint_path": (c_char_p, [c_void_p]),
    "krait_checkpoint_file": (c_bool, [c_void_p, c_char_p, c_void_p, c_void_p]),
    "krait_checkpoint_has_tokenizer": (c_bool, [c_void_p]),
    "krait_checkpoint_config": (c_int, [c_void_p, POINTER(krait_config), POINTER(krait_error)]),
    "krait_checkpoint_note": (c_char_p, [c_void_p, c_size_t]),
    "krait_tensors_save": (c_int, [c_char_p, POINTER(krait_tensor_info), c_void_p, c_size_t, POINTER(krait_error)]),
    "krait_weight_type_name": (c_char_p, [c_int]),
    "krait_weight_type_find": (c_bool, [c_void_p, c_char_p]),
    "krait_model_load": (c_int, [c_void_p, c_char_p, POINTER(krait_load_options), POINTER(krait_error)]),
    "krait_model_create": (c_int, [c_void_p, c_void_p, POINTER(krait_load_options), POINTER(krait_error)]),
    "krait_model_random": (c_int, [c_void_p, POINTER(krait_config), c_uint64, POINTER(krait_load_options), POINTER(krait_error)]),
    "krait_model_free": (None, [c_void_p]),
    "krait_model_config": (POINTER(krait_config), [c_void_p]),
    "krait_model_checkpoint": (c_void_p, [c_void_p]),
    "krait_model_bytes_per_token": (c_uint64, [c_void_p]),
    "krait_model_bytes": (c_uint64, [c_void_p]),
    "krait_checkpoint_save": (c_int, [c_void_p, c_char_p, POINTER(krait_save_options), POINTER(krait_error)]),
    "krait_checkpoint_save_gguf": (c_int, [c_void_p, c_char_p, POINTER(krait_save_options), POINTER(krait_error)]),
    "krait_random_save_gguf": (c_int, [POINTER(krait_config), c_uint64, c_char_p, POINTER(krait_save_options), POINTER(krait_error)]),
    "krait_state_create": (c_int, [c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_state_free": (None, [c_void_p]),
    "krait_state_reset": (None, [c_void_p]),
    "krait_state_clone": (c_int, [c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_state_copy": (c_int, [c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_state_tokens": (c_uint64, [c_void_p]),
    "krait_state_bytes": (c_uint64, [c_void_p]),
    "krait_state_save": (c_int, [c_void_p, c_char_p, POINTER(krait_error)]),
    "krait_state_load": (c_int, [c_void_p, c_void_p, c_char_p, POINTER(krait_error)]),
    "krait_state_load_memory": (c_int, [c_void_p, c_void_p, c_void_p, c_size_t, POINTER(krait_error)]),
    "krait_state_n_tensors": (c_size_t, [c_void_p]),
    "krait_state_tensor": (c_int, [c_void_p, c_size_t, POINTER(krait_tensor_info)]),
    "krait_state_read": (c_int, [c_void_p, c_size_t, c_void_p]),
    "krait_isa_name": (c_char_p, [c_int]),
    "krait_isa_available": (c_bool, [c_int]),
    "krait_session_create": (c_int, [c_void_p, c_void_p, POINTER(krait_session_options), POINTER(krait_error)]),
    "krait_session_free": (None, [c_void_p]),
    "krait_session_model": (c_void_p, [c_void_p]),
    "krait_session_isa": (c_int, [c_void_p]),
    "krait_session_threads": (c_int, [c_void_p]),
    "krait_session_bytes": (c_uint64, [c_void_p]),
    "krait_outputs_rows": (c_size_t, [POINTER(krait_sequence), c_size_t]),
    "krait_run": (c_int, [c_void_p, POINTER(krait_sequence), c_size_t, POINTER(krait_outputs), POINTER(krait_error)]),
    "krait_tokenizer_create": (c_int, [c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_tokenizer_load": (c_int, [c_void_p, c_char_p, POINTER(krait_error)]),
    "krait_tokenizer_load_memory": (c_int, [c_void_p, c_char_p, c_void_p, c_size_t, POINTER(krait_error)]),
    "krait_tokenizer_free": (None, [c_void_p]),
    "krait_tokenizer_vocab_size": (c_size_t, [c_void_p]),
    "krait_tokenizer_encode": (c_int, [c_void_p, c_char_p, c_size_t, POINTER(krait_encode_options), c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_tokenizer_decode": (c_int, [c_void_p, c_void_p, c_size_t, c_bool, c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_tokenizer_token": (c_void_p, [c_void_p, c_int32, c_void_p]),
    "krait_tokenizer_is_special": (c_bool, [c_void_p, c_int32]),
    "krait_tokenizer_id": (c_int32, [c_void_p, c_char_p, c_size_t]),
    "krait_decoder_create": (c_int, [c_void_p, c_void_p, c_bool, POINTER(krait_error)]),
    "krait_decoder_free": (None, [c_void_p]),
    "krait_decoder_push": (c_int, [c_void_p, c_int32, c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_decoder_flush": (c_int, [c_void_p, c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_sampler_create": (c_int, [c_void_p, c_size_t, POINTER(krait_sampling), POINTER(krait_error)]),
    "krait_sampler_free": (None, [c_void_p]),
    "krait_sampler_accept": (c_int, [c_void_p, c_int32, POINTER(krait_error)]),
    "krait_sampler_reset": (None, [c_void_p]),
    "krait_sampler_sample": (c_int, [c_void_p, c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_sampler_distribution": (c_int, [c_void_p, c_void_p, POINTER(krait_candidate), c_void_p, POINTER(krait_error)]),
    "krait_finish_name": (c_char_p, [c_int]),
    "krait_generate": (c_int, [c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, POINTER(krait_generate_options), POINTER(krait_generate_result), POINTER(krait_error)]),
    "krait_batch_create": (c_int, [c_void_p, c_void_p, c_size_t, POINTER(krait_error)]),
    "krait_batch_free": (None, [c_void_p]),
    "krait_batch_rows": (c_size_t, [c_void_p]),
    "krait_batch_free_rows": (c_size_t, [c_void_p]),
    "krait_batch_add": (c_int, [c_void_p, POINTER(krait_batch_request), POINTER(krait_error)]),
    "krait_batch_step": (c_int, [c_void_p, POINTER(krait_error)]),
    "krait_perplexity": (c_int, [c_void_p, c_void_p, c_size_t, POINTER(krait_perplexity_options), POINTER(krait_perplexity_result), POINTER(krait_error)]),
    "krait_compare": (c_int, [c_void_p, c_void_p, c_void_p, c_size_t, POINTER(krait_perplexity_options), POINTER(krait_comparison), POINTER(krait_error)]),
    "krait_measure_read": (c_int, [c_int, c_size_t, c_void_p, POINTER(krait_error)]),
    "krait_measure_products": (c_int, [c_void_p, c_size_t, c_size_t, c_void_p, POINTER(krait_error)]),
    "krait_hub_can_pull": (c_bool, []),
    "krait_hub_is_name": (c_bool, [c_char_p]),
    "krait_hub_find": (c_int, [c_void_p, c_char_p, POINTER(krait_hub_options), POINTER(krait_error)]),
    "krait_hub_pull": (c_int, [c_void_p, c_char_p, POINTER(krait_hub_options), POINTER(krait_error)]),
    "krait_hub_list": (c_int, [c_void_p, c_void_p, POINTER(krait_hub_options), POINTER(krait_error)]),
    "krait_hub_remove": (c_int, [c_char_p, c_void_p, POINTER(krait_hub_options), POINTER(krait_error)]),
    "krait_tokenizer_fingerprint": (c_uint64, [c_void_p]),
    "krait_token_file_open": (c_int, [c_void_p, c_char_p, POINTER(krait_error)]),
    "krait_token_file_open_memory": (c_int, [c_void_p, c_char_p, c_void_p, c_size_t, POINTER(krait_error)]),
    "krait_token_file_free": (None, [c_void_p]),
    "krait_token_file_get_info": (POINTER(krait_token_file_info), [c_void_p]),
    "krait_token_file_path": (c_char_p, [c_void_p]),
    "krait_token_file_verify": (c_int, [c_void_p, POINTER(krait_progress), POINTER(krait_error)]),
    "krait_token_file_check_tokenizer": (c_int, [c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_token_file_read": (c_int, [c_void_p, c_uint64, c_size_t, c_void_p, POINTER(krait_error)]),
    "krait_token_file_document": (c_int, [c_void_p, c_uint64, c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_token_file_is_target": (c_bool, [c_void_p, c_uint64]),
    "krait_token_writer_create": (c_int, [c_void_p, c_char_p, POINTER(krait_token_writer_options), POINTER(krait_error)]),
    "krait_token_writer_begin": (c_int, [c_void_p, POINTER(krait_error)]),
    "krait_token_writer_add": (c_int, [c_void_p, c_void_p, c_void_p, c_size_t, c_uint64, POINTER(krait_error)]),
    "krait_token_writer_get_info": (POINTER(krait_token_file_info), [c_void_p]),
    "krait_token_writer_commit": (c_int, [c_void_p, POINTER(krait_error)]),
    "krait_token_writer_free": (None, [c_void_p]),
    "krait_data_write": (c_int, [POINTER(krait_corpus), c_void_p, c_char_p, POINTER(krait_data_options), POINTER(krait_data_result), POINTER(krait_error)]),
    "krait_tokenizer_train": (c_int, [c_char_p, POINTER(krait_corpus), POINTER(krait_tokenizer_training), POINTER(krait_tokenizer_trained), POINTER(krait_error)]),
    "krait_dataset_create": (c_int, [c_void_p, c_void_p, c_size_t, c_size_t, c_int, c_uint64, POINTER(krait_error)]),
    "krait_dataset_free": (None, [c_void_p]),
    "krait_dataset_batches_per_epoch": (c_uint64, [c_void_p]),
    "krait_dataset_targets_per_epoch": (c_uint64, [c_void_p]),
    "krait_dataset_batch": (c_int, [c_void_p, c_uint64, c_void_p, c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_schedule_name": (c_char_p, [c_int]),
    "krait_schedule_find": (c_bool, [c_void_p, c_char_p]),
    "krait_trainer_defaults": (krait_trainer_options, []),
    "krait_trainer_rate": (c_double, [POINTER(krait_trainer_options), c_uint64]),
    "krait_trainer_create": (c_int, [c_void_p, POINTER(krait_config), c_uint64, c_void_p, POINTER(krait_trainer_options), POINTER(krait_error)]),
    "krait_trainer_free": (None, [c_void_p]),
    "krait_trainer_accumulate": (c_int, [c_void_p, POINTER(krait_train_row), c_size_t, POINTER(krait_error)]),
    "krait_trainer_discard": (None, [c_void_p]),
    "krait_trainer_evaluate": (c_int, [c_void_p, POINTER(krait_train_row), c_size_t, c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_trainer_update": (c_int, [c_void_p, POINTER(krait_train_step), POINTER(krait_error)]),
    "krait_trainer_steps": (c_uint64, [c_void_p]),
    "krait_trainer_threads": (c_int, [c_void_p]),
    "krait_trainer_isa": (c_int, [c_void_p]),
    "krait_trainer_model": (c_void_p, [c_void_p]),
    "krait_trainer_n_parameters": (c_size_t, [c_void_p]),
    "krait_trainer_parameter_info": (c_int, [c_void_p, c_size_t, POINTER(krait_tensor_info)]),
    "krait_trainer_gradient": (c_int, [c_void_p, c_char_p, c_void_p, c_size_t, POINTER(krait_error)]),
    "krait_trainer_parameter": (c_int, [c_void_p, c_char_p, c_void_p, c_size_t, POINTER(krait_error)]),
    "krait_trainer_save_model": (c_int, [c_void_p, c_char_p, c_int, POINTER(krait_error)]),
    "krait_trainer_save_state": (c_int, [c_void_p, c_char_p, POINTER(krait_error)]),
    "krait_trainer_load_state": (c_int, [c_void_p, c_char_p, POINTER(krait_error)]),
    "krait_trainer_plan": (c_int, [POINTER(krait_config), POINTER(krait_trainer_options), c_size_t, c_size_t, POINTER(krait_trainer_memory), POINTER(krait_error)]),
    "krait_trainer_measure_products": (c_int, [c_void_p, c_size_t, c_void_p, POINTER(krait_error)]),
    "krait_training_n_settings": (c_size_t, []),
    "krait_training_setting": (POINTER(krait_setting), [c_size_t]),
    "krait_training_settings_create": (c_int, [c_void_p, POINTER(krait_error)]),
    "krait_training_settings_free": (None, [c_void_p]),
    "krait_training_settings_set": (c_int, [c_void_p, c_char_p, c_char_p, c_char_p, POINTER(krait_error)]),
    "krait_training_settings_clear": (c_int, [c_void_p, c_char_p, POINTER(krait_error)]),
    "krait_training_settings_origin": (c_char_p, [c_void_p, c_char_p]),
    "krait_training_settings_get": (c_char_p, [c_void_p, c_char_p, c_size_t]),
    "krait_training_settings_of_run": (c_int, [c_void_p, c_char_p, POINTER(krait_error)]),
    "krait_training_settings_yaml": (c_int, [c_void_p, c_void_p, POINTER(krait_error)]),
    "krait_training_open": (c_int, [c_void_p, c_char_p, c_void_p, POINTER(krait_training_options), POINTER(krait_error)]),
    "krait_training_free": (None, [c_void_p]),
    "krait_training_run": (c_int, [c_void_p, POINTER(krait_error)]),
    "krait_training_finished": (c_bool, [c_void_p]),
    "krait_training_step": (c_uint64, [c_void_p]),
    "krait_training_folder": (c_char_p, [c_void_p]),
    "krait_training_get_settings": (c_void_p, [c_void_p]),
    "krait_training_model": (c_void_p, [c_void_p]),
    "krait_training_get_plan": (c_int, [POINTER(krait_training_plan), c_void_p, POINTER(krait_training_options), POINTER(krait_error)]),
    "krait_selective_scan_saved": (c_size_t, [POINTER(krait_selective_scan)]),
    "krait_selective_scan_forward": (c_int, [POINTER(krait_selective_scan), POINTER(krait_op_options), POINTER(krait_error)]),
    "krait_selective_scan_backward": (c_int, [POINTER(krait_selective_scan), POINTER(krait_selective_scan_gradients), POINTER(krait_op_options), POINTER(krait_error)]),
    "krait_selective_state_update": (c_int, [POINTER(krait_state_update), POINTER(krait_op_options), POINTER(krait_error)]),
    "krait_causal_conv1d_forward": (c_int, [POINTER(krait_causal_conv1d), POINTER(krait_op_options), POINTER(krait_error)]),
    "krait_causal_conv1d_backward": (c_int, [POINTER(krait_causal_conv1d), POINTER(krait_causal_conv1d_gradients), POINTER(krait_op_options), POINTER(krait_error)]),
    "krait_rms_norm_forward": (c_int, [POINTER(krait_rms_norm), POINTER(krait_op_options), POINTER(krait_error)]),
    "krait_rms_norm_backward": (c_int, [POINTER(krait_rms_norm), POINTER(krait_rms_norm_gradients), POINTER(krait_op_options), POINTER(krait_error)]),
}
