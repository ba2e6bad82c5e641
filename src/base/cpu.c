#include "base/cpu.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

static const char *const isa_names[] = { "auto",        "plain",     "avx2",     "avx512",    "neon",
                                         "avx512-bf16", "avx2-vnni", "neon-dot", "neon-bf16", "avx512-amx" };
/* The best first. */
static const krait_isa by_speed[] = { KRAIT_ISA_AVX512_AMX, KRAIT_ISA_AVX512_BF16, KRAIT_ISA_AVX512,
                                      KRAIT_ISA_AVX2_VNNI,  KRAIT_ISA_AVX2,        KRAIT_ISA_NEON_BF16,
                                      KRAIT_ISA_NEON_DOT,   KRAIT_ISA_NEON,        KRAIT_ISA_PLAIN };
enum { N_ISAS = sizeof isa_names / sizeof *isa_names };
_Static_assert((int)N_ISAS == (int)KRAIT_N_ISAS, "a name for each");

const char *krait_isa_name(krait_isa isa) { return (unsigned)isa < N_ISAS ? isa_names[isa] : "unknown"; }

#if defined(__x86_64__) && !defined(KRAIT_NO_SIMD)
/* Not every compiler's __builtin_cpu_supports() knows it. Its registers are AVX2's. */
static bool has_avx_vnni(void)
{
    enum { UNKNOWN = 0, PRESENT, ABSENT }; /* asking takes microseconds in a virtual machine */
    static int known = UNKNOWN;
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (answer == UNKNOWN) {
        unsigned a, b, c, d;
        answer = __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1) ? PRESENT : ABSENT;
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer == PRESENT;
}

/* The kernel keeps the tiles of those processes only that have asked for it (its Documentation/arch/x86/xstate.rst); asking again does no
 * harm, so that threads may do it at once. A kernel that does not know the tiles refuses as well. */
static bool amx_granted(void)
{
#if defined(__linux__)
    enum { EDX_BF16 = 1 << 22, EDX_TILE = 1 << 24, EDX_INT8 = 1 << 25, ALL = EDX_BF16 | EDX_TILE | EDX_INT8 };
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, UNKNOWN = 0, GRANTED, REFUSED };
    static int known = UNKNOWN;
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (answer == UNKNOWN) {
        unsigned a, b, c, d = 0;
        bool has = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & ALL) == ALL;
        answer = has && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 ? GRANTED : REFUSED;
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer == GRANTED;
#else
    return false;
#endif
}
#elif defined(__aarch64__) && !defined(KRAIT_NO_SIMD)
#if defined(__linux__)
static bool has_dot(void) { return getauxval(AT_HWCAP) >> 20 & 1; }   /* HWCAP_ASIMDDP */
static bool has_bf16(void) { return getauxval(AT_HWCAP2) >> 14 & 1; } /* HWCAP2_BF16 */
#else
static bool has_dot(void) { return false; }
static bool has_bf16(void) { return false; }
#endif
#endif

bool krait_isa_available(krait_isa isa)
{
    switch (isa) {
    case KRAIT_ISA_AUTO:
    case KRAIT_ISA_PLAIN: return true;
#if defined(__x86_64__) && !defined(KRAIT_NO_SIMD)
    case KRAIT_ISA_AVX2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case KRAIT_ISA_AVX2_VNNI: return has_avx_vnni() && krait_isa_available(KRAIT_ISA_AVX2);
    case KRAIT_ISA_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
               && __builtin_cpu_supports("avx512vl") && krait_isa_available(KRAIT_ISA_AVX2);
    case KRAIT_ISA_AVX512_BF16:
        return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16")
               && krait_isa_available(KRAIT_ISA_AVX512);
    case KRAIT_ISA_AVX512_AMX: return krait_isa_available(KRAIT_ISA_AVX512_BF16) && amx_granted();
#elif defined(__aarch64__) && !defined(KRAIT_NO_SIMD)
    case KRAIT_ISA_NEON: /* part of the base architecture */ return true;
    case KRAIT_ISA_NEON_DOT: return has_dot();
    case KRAIT_ISA_NEON_BF16: return has_bf16() && has_dot();
#endif
    default: return false;
    }
}

krait_isa kr_isa_best(void)
{
    size_t i = 0;
    while (!krait_isa_available(by_speed[i])) i++; /* the last one is */
    return by_speed[i];
}

static void list_available(char *list, size_t size)
{
    list[0] = '\0';
    for (int isa = KRAIT_ISA_PLAIN; isa < N_ISAS; isa++) {
        if (!krait_isa_available((krait_isa)isa)) continue;
        if (list[0]) strncat(list, ", ", size - strlen(list) - 1);
        strncat(list, isa_names[isa], size - strlen(list) - 1);
    }
}

krait_status kr_isa_resolve(krait_isa *isa, krait_error *error)
{
    char available[96];
    if (*isa == KRAIT_ISA_AUTO) {
        const char *name = getenv("KRAIT_ISA");
        if (name && *name) {
            int found = 0;
            while (found < N_ISAS && strcmp(name, isa_names[found]) != 0) found++;
            if (found == N_ISAS) {
                list_available(available, sizeof available);
                return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                               "environment variable KRAIT_ISA: expected auto or one of %s, found \"%.40s\"", available, name);
            }
            *isa = (krait_isa)found;
        }
        if (*isa == KRAIT_ISA_AUTO) *isa = kr_isa_best();
    }
    if (krait_isa_available(*isa)) return KRAIT_OK;
    list_available(available, sizeof available);
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "instruction set %s is not available here: expected one of %s",
                   krait_isa_name(*isa), available);
}

#if defined(__x86_64__)
enum { MXCSR_DAZ = 1 << 6, MXCSR_FTZ = 1 << 15 };
kr_fp_mode kr_flush_denormals(void)
{
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | MXCSR_DAZ | MXCSR_FTZ);
    return mode;
}
void kr_fp_restore(kr_fp_mode mode) { _mm_setcsr((unsigned)mode); }
#elif defined(__aarch64__)
kr_fp_mode kr_flush_denormals(void)
{
    kr_fp_mode mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" ::"r"(mode | 1UL << 24)); /* FZ */
    return mode;
}
void kr_fp_restore(kr_fp_mode mode) { __asm__ volatile("msr fpcr, %0" ::"r"(mode)); }
#else
kr_fp_mode kr_flush_denormals(void) { return 0; }
void kr_fp_restore(kr_fp_mode mode) { (void)mode; }
#endif
